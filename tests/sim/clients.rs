//! Clients that ask any host, wait, give up waiting, and ask again under the same request.
//!
//! A host that is not master passes a request on to whom it believes to be, as the daemon does.
//! Results are compared with the one true history, and with real time: what was acknowledged
//! before a request began must come before it.

use quptime::base::id::RequestId;
use quptime::quorum::io::{Input, MemberChange, Proposal, Refusal};
use quptime::quorum::message::{Command, Index};

use super::checkers::Checked;
use super::net::{Packet, Reply, Request, node_id};
use super::trace;
use super::world::{Event, World};

/// One client: one request at a time.
pub struct Client {
    number: usize,
    turn: u64,
    values: u64,
    current: Option<Current>,
    /// Asks only these hosts, only this, until it is done.
    script: Option<(Vec<usize>, String, Option<MemberChange>)>,
    /// How a scripted request ended.
    pub outcome: Option<Result<(u64, u64), Refusal>>,
    /// Requests that were acknowledged.
    pub acknowledged: u64,
}

struct Current {
    request: Request,
    floor: Index,
    tries: u32,
}

impl Client {
    /// One that has not asked anything yet.
    pub fn new(number: usize) -> Client {
        Client { number, turn: 0, values: 0, current: None, script: None, outcome: None, acknowledged: 0 }
    }

    /// Forgets what it waits for.
    pub fn give_up(&mut self) {
        self.current = None;
        self.turn += 1;
    }
}

impl World {
    /// One request through some of `hosts`, again and again until there is an answer for it.
    /// Returns the number of the client that asks.
    pub fn ask(&mut self, hosts: Vec<usize>, text: &str, change: Option<MemberChange>) -> usize {
        let number = self.clients.len();
        let mut client = Client::new(number);
        client.script = Some((hosts, text.to_owned(), change));
        self.clients.push(client);
        self.client_turn(number, 0);
        number
    }

    /// The next turn of a client is `delay` ns from now.
    pub fn client_turn(&mut self, client: usize, delay: u64) {
        let c = &mut self.clients[client];
        c.turn += 1;
        let turn = c.turn;
        self.after(delay, Event::Client { client, turn });
    }

    /// A client's turn: a new request, or the old one again.
    pub fn client(&mut self, client: usize, turn: u64) -> Checked {
        let heartbeat = self.options.timing.0 * super::clock::MS;
        let patience = self.options.timing.1 * super::clock::MS;
        let c = &self.clients[client];
        let scripted = c.script.is_some();
        if c.turn != turn || (scripted && c.outcome.is_some()) || (!scripted && !self.clients_on) {
            return Ok(());
        }
        let tries = c.current.as_ref().map_or(0, |current| current.tries);
        if !scripted && tries > 6 {
            self.clients[client].give_up();
            self.client_turn(client, heartbeat);
            return Ok(());
        }
        if tries == 0 {
            let request = self.new_request(client);
            let floor = self.check.acked();
            self.clients[client].current = Some(Current { request, floor, tries: 0 });
        }
        let asked = self.whom_to_ask(client);
        let wait = if scripted { 2 * heartbeat } else { patience };
        self.client_turn(client, wait);
        let Some(current) = &mut self.clients[client].current else { return Ok(()) };
        current.tries += 1;
        let request = current.request.clone();
        match asked {
            Some(host) => self.request_at(host, host, request),
            None => Ok(()),
        }
    }

    fn whom_to_ask(&mut self, client: usize) -> Option<usize> {
        let all: Vec<usize> = match &self.clients[client].script {
            Some((hosts, ..)) => hosts.clone(),
            None => (0..self.hosts.len()).collect(),
        };
        let up = |h: &usize| self.hosts[*h].core.is_some() && self.hosts[*h].applied.is_some();
        let up: Vec<usize> = all.into_iter().filter(up).collect();
        self.rng.pick(&up).copied()
    }

    fn new_request(&mut self, client: usize) -> Request {
        let id = RequestId::from_random(self.rng.next_u128());
        if let Some((_, text, change)) = &self.clients[client].script {
            return Request { id, text: text.clone(), change: *change };
        }
        if self.rng.chance(self.options.member_changes) {
            let host = self.rng.below(self.hosts.len() as u64) as usize;
            let is_member = self.check.app.config.peers.contains(&host);
            return match is_member {
                true => remove(id, host),
                false => add(id, host),
            };
        }
        if self.rng.chance(self.options.timing_changes) {
            let (heartbeat, dead_after, cooldown) = self.options.timing;
            let percent = 60 + self.rng.below(80);
            let dead_after = (dead_after * percent / 100).max(3 * heartbeat);
            let text = format!("timing {heartbeat} {dead_after} {cooldown}");
            return Request { id, text, change: None };
        }
        let c = &mut self.clients[client];
        c.values += 1;
        let value = c.number as u64 * 1_000_000 + c.values;
        let text = format!("append {} {value}", self.rng.below(4));
        Request { id, text, change: None }
    }

    /// A request reaches a host: from a client there, or passed on by another host.
    pub fn request_at(&mut self, host: usize, origin: usize, request: Request) -> Checked {
        let h = &mut self.hosts[host];
        if h.core.is_none() || h.paused {
            return Ok(());
        }
        self.trace.line(self.now, || {
            format!("{} is asked: {}", trace::name(node_id(host)), trace::short(&request.text))
        });
        if h.role.me {
            if self.options.suppress
                && let Some(told) = h.app.done.get(&request.id).copied()
            {
                return self.answer(host, origin, Reply { id: request.id, outcome: Ok(told) });
            }
            h.waiting.insert(request.id, origin);
            let command = Command { request: request.id, text: request.text.into() };
            return self.feed(host, Input::Propose(Proposal { command, change: request.change }));
        }
        match h.role.master {
            Some(master) if origin == host => {
                let master = self.host_of(master)?;
                self.send(host, master, Packet::Forward(request));
                Ok(())
            }
            known => {
                let outcome = Err(Refusal::NotMaster(known));
                self.answer(host, origin, Reply { id: request.id, outcome })
            }
        }
    }

    /// An answer on its way back to where the client waits.
    pub fn answer(&mut self, host: usize, origin: usize, reply: Reply) -> Checked {
        if host == origin {
            return self.reply(reply);
        }
        self.send(host, origin, Packet::Reply(reply));
        Ok(())
    }

    /// An answer reaches the client, if one still waits for it.
    pub fn reply(&mut self, reply: Reply) -> Checked {
        let waits = |c: &super::clients::Client| {
            c.current.as_ref().is_some_and(|current| current.request.id == reply.id)
        };
        let Some(client) = self.clients.iter().position(waits) else { return Ok(()) };
        let scripted = self.clients[client].script.is_some();
        match reply.outcome {
            Ok(told) => {
                let c = &mut self.clients[client];
                c.acknowledged += 1;
                c.outcome = Some(Ok(told));
                let floor = c.current.take().map_or(0, |current| current.floor);
                self.trace.line(self.now, || format!("client {client} is told {told:?}"));
                self.check.acknowledged(reply.id, floor, told)?;
                let pause = self.rng.below(self.options.think + 1);
                self.client_turn(client, pause);
            }
            Err(why) if is_final(&why) => {
                let c = &mut self.clients[client];
                c.outcome = Some(Err(why));
                c.current = None;
                self.client_turn(client, self.options.think);
            }
            // The same question in a moment.
            Err(_) => {
                let heartbeat = self.options.timing.0 * super::clock::MS;
                self.client_turn(client, if scripted { heartbeat / 10 } else { heartbeat / 2 });
            }
        }
        Ok(())
    }
}

fn is_final(why: &Refusal) -> bool {
    use Refusal as R;
    matches!(why, R::AlreadyMember | R::NotMember | R::LastVoter | R::WouldLoseQuorum { .. })
}

/// A request to add a host.
pub fn add(id: RequestId, host: usize) -> Request {
    Request { id, text: format!("add {host}"), change: Some(MemberChange::Add(node_id(host))) }
}

/// A request to remove a host.
pub fn remove(id: RequestId, host: usize) -> Request {
    Request { id, text: format!("remove {host}"), change: Some(MemberChange::Remove(node_id(host))) }
}
