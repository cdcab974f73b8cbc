//! What befalls servers that replicate each other, and what an operator does: links cut and silent, power cuts, ends, promotions,
//! replicas that follow another one.
//!
//! Not here: who goes next (`fleet`).

use std::time::Duration;

use torc::io::sim::SimClient;
use torc::replicate::LinkState;

use super::fleet::{Fleet, Role};
use super::ledger::missing;

/// Time from one event to the next, at most.
const PAUSE_MAX_MS: u64 = 1000;
/// Time from one look at roles to the next.
const LOOK: Duration = Duration::from_millis(150);
/// How long a command of the operator may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the operator is about.
#[derive(Default)]
pub struct Operator {
    next_event: Duration,
    next_look: Duration,
    /// When another server becomes the primary, and whether the one before loses its power then.
    next_failover: Option<(Duration, bool)>,
    /// Commands that were sent.
    errands: Vec<(SimClient, Duration)>,
    /// What a server has to have once it is ready, and whether it is to be a primary by then.
    owed: Option<Owed>,
}

/// What was promised when a server was chosen.
struct Owed {
    server: usize,
    keys: Vec<Vec<u8>>,
}

impl Fleet {
    /// What happens now, if anything does; nothing but what is already on its way when `is_over`.
    pub(super) fn operate(&self, is_over: bool) -> Result<(), String> {
        let now = self.host.net.now();
        let mut operator = self.operator.borrow_mut();
        operator.errands.retain(|(client, since)| {
            let is_under_way =
                client.read().is_empty() && client.ended().is_none() && now < *since + PATIENCE;
            if !is_under_way {
                client.close();
            }
            is_under_way
        });
        self.settle(&mut operator)?;
        self.watch_data();
        self.restart_when_due()?;
        if now >= operator.next_look {
            operator.next_look = now + LOOK;
            self.set_roles(&mut operator);
        }
        if let Some((_, dies)) = operator.next_failover.take_if(|(at, _)| *at <= now) {
            self.fail_over(&mut operator, dies);
        }
        if !is_over && now >= operator.next_event {
            operator.next_event = now + Duration::from_millis(20 + self.below(PAUSE_MAX_MS));
            self.befall(&mut operator);
        }
        Ok(())
    }

    /// When it does something next.
    pub(super) fn operator_rests_until(&self) -> Duration {
        let operator = self.operator.borrow();
        operator.next_event.min(operator.next_look)
    }

    fn befall(&self, operator: &mut Operator) {
        let count = self.nodes.len() as u64;
        let any = self.below(count) as usize;
        let replica = (self.primary.get() + 1 + self.below(count - 1) as usize) % self.nodes.len();
        match self.below(20) {
            0..4 => self.cut_link(replica, false),
            4 | 5 => self.cut_link(replica, true),
            6 => self.lose_power(replica),
            7 => self.end(operator, replica),
            8 => self.send(operator, any, &["SAVE"]),
            9 => self.follow_another(replica),
            10 | 11 => self.fail_over(operator, true),
            12 | 13 => self.fail_over(operator, false),
            14..18 => self.isolate(operator),
            18 => self.lose_primary(operator),
            _ => self.send(operator, any, &["REPLICAOF", "127.0.0.1", "1"]),
        }
    }

    fn send(&self, operator: &mut Operator, number: usize, words: &[&str]) {
        if let Some(client) = self.host.net.try_connect(self.nodes[number].port) {
            let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
            client.send(&super::client::request(&words));
            operator.errands.push((client, self.host.net.now()));
        }
    }

    /// One of the links that a replica has made is cut, or carries nothing any more.
    fn cut_link(&self, number: usize, is_silent: bool) {
        let Some(server) = self.server(number) else { return };
        let mut sockets = self.host.threads.sockets(number);
        sockets.extend(server.workers.indices().flat_map(|index| self.host.net.connected_sockets(index)));
        if sockets.is_empty() {
            return;
        }
        let socket = sockets[self.below(sockets.len() as u64) as usize];
        self.count(|followed| followed.links_cut += 1);
        if is_silent { self.host.net.silence(socket) } else { self.host.net.reset(socket) }
    }

    /// No link carries anything any more, and soon another server is the primary.
    fn isolate(&self, operator: &mut Operator) {
        for number in 0..self.nodes.len() {
            self.cut_link(number, true);
        }
        let at = self.host.net.now() + Duration::from_millis(self.below(PAUSE_MAX_MS));
        operator.next_failover = Some((at, self.chance(50)));
    }

    /// A replica is no more, and comes back with its file.
    fn lose_power(&self, number: usize) {
        if self.kill(number) {
            self.lose_data(number);
        }
    }

    /// What a replica has, or may have alone, is lost; counted once until it follows again.
    fn lose_data(&self, number: usize) {
        if !self.nodes[number].is_lost.replace(true) {
            self.ledger.borrow_mut().lose_one();
        }
    }

    /// The primary is no more, and comes back with its file.
    fn lose_primary(&self, operator: &mut Operator) {
        let primary = self.primary.get();
        let promised = self.ledger.borrow().promised();
        if self.kill(primary) {
            self.term.set(self.term.get() + 1);
            if self.nodes[primary].is_safe {
                operator.owed = Some(Owed { server: primary, keys: promised });
            } else {
                operator.owed = None;
                self.ledger.borrow_mut().lose_all();
            }
        }
    }

    /// A replica is told to end, and comes back with what it has saved.
    fn end(&self, operator: &mut Operator, number: usize) {
        if self
            .server(number)
            .is_some_and(|server| server.is_whole() && server.shared.replication.is_replica())
        {
            self.nodes[number].is_ending.set(true);
            self.send(operator, number, &["SHUTDOWN", "SAVE"]);
        }
    }

    fn follow_another(&self, number: usize) {
        let primary = self.primary.get();
        let follows_primary = |other: &usize| self.nodes[*other].role.get() == Role::ReplicaOf(primary);
        let other = (0..self.nodes.len()).find(|other| *other != number && follows_primary(other));
        let is_followed =
            (0..self.nodes.len()).any(|other| self.nodes[other].role.get() == Role::ReplicaOf(number));
        let to = if self.chance(50) { Some(primary) } else { other.filter(|_| !is_followed) };
        if let Some(to) = to.filter(|to| *to != number) {
            self.nodes[number].role.set(Role::ReplicaOf(to));
        }
    }

    /// The replica that has got furthest becomes the primary; whether the one before loses its power.
    fn fail_over(&self, operator: &mut Operator, dies: bool) {
        let primary = self.primary.get();
        let Some(id) = self.server(primary).map(|server| server.position().0) else { return };
        let position = |number: &usize| {
            let server = self.server(*number).filter(|server| *number != primary && server.is_whole())?;
            let (of, offset) = server.position();
            (of == id && server.shared.replication.is_replica()).then_some((offset, *number))
        };
        let all = 0..self.nodes.len();
        let Some((_, chosen)) = all.clone().filter_map(|number| position(&number)).max() else { return };
        // Who cannot be chosen may be the last that has something.
        for number in all.filter(|number| *number != primary && position(number).is_none()) {
            self.lose_data(number);
        }
        let keys = self.ledger.borrow().promised();
        self.term.set(self.term.get() + 1);
        self.primary.set(chosen);
        if dies {
            self.kill(primary);
        }
        for (number, node) in self.nodes.iter().enumerate() {
            node.role.set(if number == chosen { Role::Primary } else { Role::ReplicaOf(chosen) });
        }
        self.nodes[chosen].is_ending.set(false);
        // Nobody has counted it.
        self.nodes[primary].is_lost.set(true);
        operator.owed = Some(Owed { server: chosen, keys });
        self.count(|followed| followed.promotions += 1);
    }

    /// Whether a server that is ready has what it owes.
    fn settle(&self, operator: &mut Operator) -> Result<(), String> {
        let Some(Owed { server: number, keys }) = &operator.owed else { return Ok(()) };
        let Some(server) = self.server(*number) else { return Ok(()) };
        if server.shared.link.is_torn() || self.nodes[*number].is_ending.get() {
            // Its data was given up before it was told.
            operator.owed = None;
            self.ledger.borrow_mut().lose_all();
            return Ok(());
        }
        if server.shared.loading.is_on() || server.shared.replication.is_replica() {
            return Ok(());
        }
        let Some(missing) = missing(&server.shared, keys) else { return Ok(()) };
        if let Some(key) = missing.first() {
            let (number, count, key) = (*number, missing.len(), key.escape_ascii());
            let position = server.position();
            return Err(format!(
                "server {number} at {position:?} has not got {key} and {count} acknowledged keys in all"
            ));
        }
        let count = keys.len() as u64;
        self.count(|followed| followed.promises_kept += count);
        operator.owed = None;
        Ok(())
    }

    /// Whose data goes for a snapshot may have been the last that had something.
    fn watch_data(&self) {
        for number in 0..self.nodes.len() {
            let Some(server) = self.server(number) else { continue };
            if server.shared.link.is_torn() {
                self.lose_data(number);
            } else if server.shared.replication.link() == LinkState::Connected {
                self.nodes[number].is_lost.set(false);
            }
        }
    }

    /// Servers are told who they are to follow, if that is somebody else than whom they do.
    fn set_roles(&self, operator: &mut Operator) {
        for (number, node) in self.nodes.iter().enumerate() {
            let Some(server) = self.server(number) else { continue };
            let follows = server.shared.replication.primary().as_ref().map(|primary| primary.port);
            let Role::ReplicaOf(other) = node.role.get() else {
                if follows.is_some() {
                    self.send(operator, number, &["REPLICAOF", "NO", "ONE"]);
                }
                continue;
            };
            let port = self.nodes[other].port;
            if follows != Some(port) {
                self.send(operator, number, &["REPLICAOF", "127.0.0.1", &port.to_string()]);
            }
        }
    }
}
