//! A queue in which clients take turns: each has its own line, and the lines are served one item each, round and round.
//!
//! Invariant: a client is in the round exactly while something of it waits, so that a client with one item is served before
//! another's second, however much that one has asked for.

use std::collections::{HashMap, VecDeque};

use super::ClientNumber;

/// See the module.
#[derive(Debug)]
pub struct Fair<T> {
    lines: HashMap<ClientNumber, VecDeque<T>>,
    round: VecDeque<ClientNumber>,
    length: usize,
}

impl<T> Default for Fair<T> {
    fn default() -> Fair<T> {
        Fair {
            lines: HashMap::new(),
            round: VecDeque::new(),
            length: 0,
        }
    }
}

impl<T> Fair<T> {
    /// Puts an item behind those of the same client.
    pub fn push(&mut self, client: ClientNumber, item: T) {
        let line = self.lines.entry(client).or_default();
        if line.is_empty() {
            self.round.push_back(client);
        }
        line.push_back(item);
        self.length += 1;
    }

    /// The next item, and whose it is.
    pub fn pop(&mut self) -> Option<(ClientNumber, T)> {
        self.pop_of(|_| true)
    }

    /// The same, of those clients that may have a turn; the others keep their place in the round.
    pub fn pop_of(&mut self, may: impl Fn(ClientNumber) -> bool) -> Option<(ClientNumber, T)> {
        let next = self.round.iter().position(|client| may(*client))?;
        let client = self.round.remove(next)?;
        let line = self.lines.get_mut(&client)?;
        let item = line.pop_front();
        if line.is_empty() {
            self.lines.remove(&client);
        } else {
            self.round.push_back(client);
        }
        self.length -= 1;
        item.map(|item| (client, item))
    }

    /// Items that wait.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Items of one client that wait.
    pub fn len_of(&self, client: ClientNumber) -> usize {
        self.lines.get(&client).map_or(0, VecDeque::len)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Most items that are served before one that this client would put in now, if nobody else comes: the round goes on while
    /// its own line does.
    pub fn ahead_of(&self, client: ClientNumber) -> usize {
        let own = self.len_of(client);
        let others = self.lines.len() - usize::from(own > 0);
        (own + (own + 1) * others).min(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a client that asks for little is not behind one that asks for much. Method: one client's hundred items are there
    /// first, then two others come with one and two.
    #[test]
    fn clients_take_turns() {
        let mut queue = Fair::default();
        for item in 0..100 {
            queue.push(1, item);
        }
        assert_eq!(queue.ahead_of(2), 1);
        queue.push(2, 1000);
        queue.push(3, 2000);
        queue.push(3, 2001);
        assert_eq!(queue.len(), 103);
        // Its own line, and for each place in it and the new one a turn of both others.
        assert_eq!(queue.ahead_of(3), 2 + 3 * 2);
        let order: Vec<(ClientNumber, i32)> = std::iter::from_fn(|| queue.pop()).collect();
        let first = [(1, 0), (2, 1000), (3, 2000), (1, 1), (3, 2001), (1, 2), (1, 3)];
        assert_eq!(order[..7], first);
        assert_eq!(order.len(), 103);
        assert!(queue.is_empty() && queue.pop().is_none());
        assert!(
            queue.lines.is_empty() && queue.round.is_empty(),
            "nothing is kept of who has gone"
        );
    }

    /// Goal: no more is served before an item than [`Fair::ahead_of`] said. Method: all small queues of two other clients.
    #[test]
    fn what_is_ahead_is_bounded() {
        for (own, one, other) in (0..64).map(|number| (number % 4, number / 4 % 4, number / 16)) {
            let mut queue = Fair::default();
            for (client, count) in [(1, own), (2, one), (3, other)] {
                (0..count).for_each(|_| queue.push(client, "other"));
            }
            let ahead = queue.ahead_of(1);
            queue.push(1, "this");
            let order: Vec<&str> = std::iter::from_fn(|| queue.pop()).map(|(_, item)| item).collect();
            let place = order
                .iter()
                .position(|item| *item == "this")
                .expect("it is served");
            assert!(
                place <= ahead,
                "{own} {one} {other}: at {place}, {ahead} were said to be ahead"
            );
            assert!(ahead <= own + one + other);
        }
    }
}
