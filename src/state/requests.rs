//! Results of recent requests: a command that comes a second time under the same id is answered
//! with the first one's result, and not applied again.
//!
//! Only commands that a client waits for are kept. The oldest in the log go first, so every node
//! forgets the same one at the same entry. A client asks again for seconds, not for thousands of
//! changes.

use std::collections::{BTreeMap, VecDeque};

use crate::base::id::RequestId;

use super::outcome::{Done, Refused};

/// So many results are kept.
pub const MOST_REQUESTS: usize = 4_096;

/// What a request was answered.
pub(super) type Answer = Result<Done, Refused>;

/// The results that are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    order: VecDeque<RequestId>,
    answers: BTreeMap<RequestId, Answer>,
}

impl Requests {
    pub(super) fn from_pairs(pairs: impl IntoIterator<Item = (RequestId, Answer)>) -> Requests {
        let mut requests = Requests::default();
        for (id, answer) in pairs {
            requests.remember(id, answer);
        }
        requests
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = (RequestId, &Answer)> {
        self.order.iter().filter_map(|id| self.answers.get(id).map(|answer| (*id, answer)))
    }

    /// What was answered to this request, if it was seen lately.
    #[must_use]
    pub fn answer(&self, id: RequestId) -> Option<&Result<Done, Refused>> {
        self.answers.get(&id)
    }

    pub(super) fn remember(&mut self, id: RequestId, answer: Answer) {
        if self.answers.insert(id, answer).is_some() {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > MOST_REQUESTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.answers.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_results_go_first_and_a_round_trip_keeps_the_order() {
        let id = |n: usize| RequestId::from_random((n as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut requests = Requests::default();
        for n in 0..MOST_REQUESTS + 2 {
            requests.remember(id(n), Err(Refused::LastPeer));
        }
        assert!(requests.answer(id(1)).is_none());
        assert!(requests.answer(id(2)).is_some());
        let pairs: Vec<_> = requests.pairs().map(|(id, answer)| (id, answer.clone())).collect();
        assert_eq!(pairs.len(), MOST_REQUESTS);
        assert_eq!(Requests::from_pairs(pairs), requests);
    }
}
