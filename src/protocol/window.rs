//! The replay window: which counters of one direction have been seen (after RFC 6479).

/// Counters below the newest by this much or more are too old to be judged.
pub const WINDOW: u64 = 8192;

/// One word more than the window, so that the word being filled never holds counters still in it.
const WORDS: usize = WINDOW as usize / 64 + 1;

/// A sliding bitmap over the counters of one direction.
pub struct Window {
    words: [u64; WORDS],
    /// One more than the newest counter; 0 while there is none.
    next: u64,
    seen: u64,
}

impl Default for Window {
    fn default() -> Self {
        Self { words: [0; WORDS], next: 0, seen: 0 }
    }
}

impl Window {
    /// Whether `counter` is new. Changes nothing: the packet is not authentic yet.
    pub fn check(&self, counter: u64) -> bool {
        if counter >= self.next {
            return true;
        }
        self.next - counter <= WINDOW && self.words[word(counter)] & bit(counter) == 0
    }

    /// Notes an authentic `counter` that passed [`check`](Self::check). Returns whether it is the newest.
    pub fn commit(&mut self, counter: u64) -> bool {
        let newest = counter >= self.next;
        if newest {
            self.advance(counter);
        }
        self.words[word(counter)] |= bit(counter);
        self.seen += 1;
        newest
    }

    /// One more than the newest counter.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Whether `counter` has been seen and no counter is missing.
    pub fn complete_to(&self, counter: u64) -> bool {
        self.next > counter && self.seen == self.next
    }

    /// Clears the words between the newest counter and `counter`.
    fn advance(&mut self, counter: u64) {
        let newest_word = if self.next == 0 { 0 } else { (self.next - 1) / 64 };
        let steps = (counter / 64 - newest_word).min(WORDS as u64);
        for step in 1..=steps {
            self.words[word((newest_word + step) * 64)] = 0;
        }
        self.next = counter + 1;
    }
}

fn word(counter: u64) -> usize {
    (counter / 64 % WORDS as u64) as usize
}

fn bit(counter: u64) -> u64 {
    1 << (counter % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_new_when_it_comes_next_and_seen_for_as_long_as_the_window_reaches() {
        let mut window = Window::default();
        for newest in 0..4 * WINDOW {
            assert!(window.check(newest) && window.commit(newest), "{newest} is new");
            let oldest = (newest + 1).saturating_sub(WINDOW);
            for counter in oldest..newest.min(oldest + 130) {
                assert!(!window.check(counter), "{counter} is taken again after {newest}");
            }
        }
    }

    #[test]
    fn all_that_was_sent_has_arrived_when_the_last_has_and_none_is_missing() {
        let mut window = Window::default();
        assert!(!window.complete_to(0));
        window.commit(0);
        assert!(window.complete_to(0) && !window.complete_to(1));
        window.commit(2);
        assert!(!window.complete_to(2));
        window.commit(1);
        assert!(window.complete_to(2) && !window.complete_to(3));
    }
}
