//! Which seat has the least to do.

/// Load of every seat with the least loaded one at hand: a winner tree (Knuth, TAOCP 3, 5.4.1).
#[derive(Debug, Default)]
pub(super) struct LoadTree {
    load_ns: Vec<u64>,
    /// Node 1 is the root; leaves start at `load_ns.len()` rounded up to a power of two.
    winner: Vec<usize>,
    leaves: usize,
}

impl LoadTree {
    pub(super) fn reset(&mut self, seats: usize) {
        self.leaves = seats.next_power_of_two().max(1);
        self.load_ns.clear();
        self.load_ns.resize(seats, 0);
        self.winner.clear();
        self.winner.resize(2 * self.leaves, usize::MAX);
        for seat in 0..seats {
            self.winner[self.leaves + seat] = seat;
        }
        for node in (1..self.leaves).rev() {
            self.winner[node] = self.lighter(self.winner[2 * node], self.winner[2 * node + 1]);
        }
    }

    pub(super) fn get(&self, seat: usize) -> u64 {
        self.load_ns.get(seat).copied().unwrap_or(u64::MAX)
    }

    pub(super) fn set(&mut self, seat: usize, load_ns: u64) {
        self.load_ns[seat] = load_ns;
        let mut node = (self.leaves + seat) / 2;
        while node > 0 {
            self.winner[node] = self.lighter(self.winner[2 * node], self.winner[2 * node + 1]);
            node /= 2;
        }
    }

    pub(super) fn least(&self) -> usize {
        self.winner.get(1).copied().unwrap_or(0)
    }

    fn lighter(&self, left: usize, right: usize) -> usize {
        if self.get(right) < self.get(left) { right } else { left }
    }
}
