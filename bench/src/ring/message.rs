//! Messages: written word by word by one end, read word by word and verified by the other.

use crate::ring::PeerError;

/// First word of the message that ends a measurement.
const END: u64 = u64::MAX;

/// Where messages come from. The first word is the sequence number, the last its complement, those between are the same
/// in each.
#[derive(Clone, Debug)]
pub struct Source<const W: usize> {
    message: [u64; W],
}

impl<const W: usize> Source<W> {
    pub(super) fn new() -> Source<W> {
        let mut message: [u64; W] = std::array::from_fn(filler);
        (message[0], message[W - 1]) = (0, !0);
        Source { message }
    }

    /// The present message.
    #[inline]
    pub fn message(&self) -> &[u64; W] {
        &self.message
    }

    /// Goes on to the next one, now that the present one is on its way.
    #[inline]
    pub fn advance(&mut self) {
        self.message[0] = self.message[0].wrapping_add(1);
        self.message[W - 1] = !self.message[0];
    }

    /// Makes the present message the one that ends the measurement.
    pub(super) fn end(&mut self) {
        self.message[0] = END;
    }

    /// Puts a time into the present message, whose sum then tells nothing.
    pub(super) fn stamp(&mut self, nanos: u64) {
        if let Some(word) = self.message.get_mut(1) {
            *word = nanos;
        }
    }
}

fn filler(word: usize) -> u64 {
    (word as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// What arrived.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    messages: u64,
    sum: u64,
    /// Sum of the sequence numbers, where the order is not looked at.
    numbers: u64,
    faults: u64,
    ended: bool,
}

impl Tally {
    /// Reads a message whole.
    #[inline]
    pub fn note<const W: usize>(&mut self, message: &[u64; W]) {
        let first = message[0];
        if first == END {
            self.ended = true;
            return;
        }
        let sum = message.iter().fold(0, |sum: u64, word| sum.wrapping_add(*word));
        self.sum = self.sum.wrapping_add(sum);
        let whole = first == self.messages && message[W - 1] == !first;
        self.faults += u64::from(!whole);
        self.messages += 1;
    }

    /// As [`note`](Self::note), for messages in bytes that may overtake each other; none of them ends it.
    pub fn note_unordered(&mut self, message: &[u8]) {
        let (words, _) = message.as_chunks::<8>();
        let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
        let first = words.first().map_or(0, word);
        self.sum = words.iter().map(word).fold(self.sum, u64::wrapping_add);
        self.numbers = self.numbers.wrapping_add(first);
        self.faults += u64::from(words.last().map(word) != Some(!first));
        self.messages += 1;
    }

    /// Messages so far, without the one that ends.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Whether the message that ends was among them.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Whether all came, in order and whole; each has so many words.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn verify(&self, words: usize) -> Result<(), PeerError> {
        let between = (1..words.saturating_sub(1)).map(filler).fold(0, u64::wrapping_add);
        let expected = self.messages.wrapping_mul(between.wrapping_sub(1));
        self.judge(self.sum == expected, expected)
    }

    /// As [`verify`](Self::verify), for messages noted in any order.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn verify_unordered(&self, words: usize) -> Result<(), PeerError> {
        let numbers = u128::from(self.messages) * u128::from(self.messages.saturating_sub(1)) / 2;
        if u128::from(self.numbers) == numbers {
            return self.verify(words);
        }
        let Tally { messages, sum, faults, .. } = *self;
        Err(PeerError::Damaged { messages, faults: faults.max(1), sum, expected: sum })
    }

    /// As [`verify`](Self::verify), for messages that carry times: their sum is not known.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn verify_order(&self) -> Result<(), PeerError> {
        self.judge(true, self.sum)
    }

    fn judge(&self, sum_is_right: bool, expected: u64) -> Result<(), PeerError> {
        if sum_is_right && self.faults == 0 {
            return Ok(());
        }
        let Tally { messages, sum, faults, .. } = *self;
        Err(PeerError::Damaged { messages, faults, sum, expected })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received<const W: usize>(count: u64, mut damage: impl FnMut(u64, &mut [u64; W])) -> Tally {
        let (mut source, mut tally) = (Source::<W>::new(), Tally::default());
        for number in 0..count {
            let mut message = *source.message();
            damage(number, &mut message);
            tally.note(&message);
            source.advance();
        }
        tally
    }

    #[test]
    fn whole_messages_in_order_pass_at_every_size() {
        received::<2>(1000, |_, _| ()).verify(2).unwrap();
        received::<8>(1000, |_, _| ()).verify(8).unwrap();
        received::<512>(1000, |_, _| ()).verify(512).unwrap();
    }

    #[test]
    fn one_wrong_word_anywhere_is_found() {
        for word in 0..8 {
            let tally = received::<8>(100, |number, message| message[word] ^= u64::from(number == 57));
            assert!(tally.verify(8).is_err(), "word {word}");
        }
    }

    #[test]
    fn a_lost_or_doubled_message_is_found() {
        let mut tally = received::<8>(10, |_, _| ());
        let mut source = Source::<8>::new();
        (0..11).for_each(|_| source.advance());
        tally.note(source.message());
        assert!(tally.verify(8).is_err() && tally.verify_order().is_err());
    }

    #[test]
    fn messages_may_overtake_each_other_where_that_is_allowed_but_none_may_be_missing_or_doubled() {
        let message = |number| {
            let mut source = Source::<8>::new();
            (0..number).for_each(|_| source.advance());
            *source.message()
        };
        let of = |numbers: &[u64]| {
            let mut tally = Tally::default();
            numbers.iter().for_each(|&number| tally.note_unordered(bytemuck::bytes_of(&message(number))));
            tally.verify_unordered(8)
        };
        of(&[0, 2, 1, 3]).unwrap();
        assert!(of(&[0, 1, 1, 3]).is_err() && of(&[0, 1, 3]).is_err());
    }

    #[test]
    fn the_end_is_no_message() {
        let mut source = Source::<2>::new();
        source.end();
        let mut tally = Tally::default();
        tally.note(source.message());
        assert!(tally.ended());
        assert_eq!(tally.messages(), 0);
        tally.verify(2).unwrap();
    }
}
