//! The answerer's side of joining, without I/O: what one connection may ask, in which order. The
//! protocol is told in `join`.

use std::time::Duration;

use super::join::{JoinDesk, Offer, Refused, Reply, Request, decode};
use crate::config::Secret;
use crate::identity::secret::{self, Role};
use crate::identity::{Known, Trust};

/// What the links' thread is to do for a stranger who asks to join.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    /// Send this and wait for the next request.
    Go(Reply),
    /// Send this and close.
    Last(Reply),
    /// As [`Step::Last`], and the source is slowed down.
    Failed(Refused),
    /// Have the offer considered, then [`Step::Last`].
    Consider(Box<Offer>),
}

/// The answerer's side of one connection; no I/O.
pub(super) struct Answerer {
    proved: bool,
}

/// What the answerer knows about the connection.
pub(super) struct Facts<'a> {
    /// The session, for the proofs.
    pub session: &'a secret::Session,
    /// This node's secret, if it has one.
    pub secret: Option<&'a Secret>,
    /// How long the source has to wait.
    pub pause: Duration,
}

impl Answerer {
    pub(super) fn new() -> Answerer {
        Answerer { proved: false }
    }

    /// The next request.
    pub(super) fn hear(&mut self, body: &[u8], facts: &Facts<'_>, desk: &dyn JoinDesk) -> Step {
        let request = match decode(body) {
            Ok(request) => request,
            Err(why) => return Step::Failed(Refused::Nonsense(why)),
        };
        match request {
            Request::Identify if !self.proved => Step::Last(Reply::Introduction(desk.introduce())),
            Request::Proof { proof } if !self.proved => self.judge(&proof, facts),
            Request::Offer(offer) if self.proved => match check(&offer, facts) {
                Ok(()) => Step::Consider(offer),
                Err(why) => Step::Failed(Refused::Nonsense(why)),
            },
            _ => Step::Failed(Refused::Nonsense("a request out of order".into())),
        }
    }

    fn judge(&mut self, proof: &str, facts: &Facts<'_>) -> Step {
        let Some(secret) = facts.secret.filter(|s| !s.reveal().trim().is_empty()) else {
            return Step::Last(Reply::Refused(Refused::NoSecret));
        };
        if !facts.pause.is_zero() {
            let seconds = u64::try_from(facts.pause.as_millis().div_ceil(1000)).unwrap_or(u64::MAX);
            return Step::Last(Reply::Refused(Refused::Slow { seconds }));
        }
        if !secret::verify(secret.reveal(), Role::Asker, facts.session, proof) {
            return Step::Failed(Refused::WrongSecret);
        }
        self.proved = true;
        Step::Go(Reply::Proof { proof: secret::prove(secret.reveal(), Role::Answerer, facts.session) })
    }
}

/// What the desk may rely on: the peers do not contradict each other, and the adder is who asks.
fn check(offer: &Offer, facts: &Facts<'_>) -> Result<(), String> {
    let trust = Trust::new(offer.peers.iter().map(Known::from)).map_err(|e| e.to_string())?;
    match trust.who(&facts.session.asker) {
        Some(node) if node == offer.adder => Ok(()),
        _ => Err("the adder's key is not the connection's".to_owned()),
    }
}
