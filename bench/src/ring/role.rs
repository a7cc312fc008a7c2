//! What each end does in each measure: written once, for every transport.

use crate::ring::clock::{Laps, nanos_between, now, summary};
use crate::ring::patience::{Patience, STALL_LIMIT};
use crate::ring::{Ends, Job, Measure, PeerError, Publication, Receiver, Sample, Sender, Source, Tally};
use std::time::{Duration, Instant};

/// Messages between two looks at the clock while sending.
const LOOK_EVERY: u64 = 256;
/// Time between two messages to a sleeper: it must be asleep again.
const SLEEP_TIME: Duration = Duration::from_micros(400);
/// No sleep lasts longer.
const SLEEP_LIMIT: Duration = Duration::from_secs(2);

/// The near end's part. The sample, if it is this end that measures.
pub fn near<const W: usize, S: Sender<W>, R: Receiver<W>>(
    job: &Job,
    ends: &mut Ends<S, R>,
    batch: usize,
) -> Result<Option<Sample>, PeerError> {
    let yields = job.cores.is_none();
    match job.measure {
        Measure::Throughput => {
            let count = match job.publication {
                Publication::Single => 1,
                Publication::Batched => batch,
            };
            send_for(&mut ends.sender, job.duration(), count, yields).map(|()| None)
        }
        Measure::RoundTrip => time_round_trips(ends, job.duration(), yields).map(Some),
        Measure::Wake => wake_for(&mut ends.sender, job.duration(), yields).map(|()| None),
    }
}

/// The far end's part. The sample, if it is this end that measures.
pub fn far<const W: usize, S: Sender<W>, R: Receiver<W>>(
    job: &Job,
    ends: &mut Ends<S, R>,
) -> Result<Option<Sample>, PeerError> {
    let yields = job.cores.is_none();
    match job.measure {
        Measure::Throughput => receive_all(&mut ends.receiver, yields).map(Some),
        Measure::RoundTrip => answer_all(ends, yields).map(|()| None),
        Measure::Wake => sleep_and_wake(&mut ends.receiver).map(Some),
    }
}

fn send_for<const W: usize>(
    sender: &mut impl Sender<W>,
    duration: Duration,
    count: usize,
    yields: bool,
) -> Result<(), PeerError> {
    let (mut source, mut patience) = (Source::new(), Patience::new("room for a message", yields));
    let begun = Instant::now();
    let mut until_look = LOOK_EVERY;
    loop {
        let sent = sender.send(&mut source, count)? as u64;
        if sent == 0 {
            patience.pause()?;
            // A look costs less than a turn of waiting brings.
            until_look = until_look.min(1);
        } else {
            patience.rest();
        }
        until_look = until_look.saturating_sub(sent.max(1));
        if until_look == 0 {
            if begun.elapsed() >= duration {
                return send_end(sender, &mut source, &mut patience);
            }
            until_look = LOOK_EVERY;
        }
    }
}

fn send_end<const W: usize>(
    sender: &mut impl Sender<W>,
    source: &mut Source<W>,
    patience: &mut Patience,
) -> Result<(), PeerError> {
    source.end();
    send_one(sender, source, patience)
}

#[inline]
fn send_one<const W: usize>(
    sender: &mut impl Sender<W>,
    source: &mut Source<W>,
    patience: &mut Patience,
) -> Result<(), PeerError> {
    while sender.send(source, 1)? == 0 {
        patience.pause()?;
    }
    patience.rest();
    Ok(())
}

fn receive_all<const W: usize>(receiver: &mut impl Receiver<W>, yields: bool) -> Result<Sample, PeerError> {
    let (mut tally, mut patience) = (Tally::default(), Patience::new("a message", yields));
    let mut begun = None;
    while !tally.ended() {
        if receiver.receive(&mut |message| tally.note(message))? == 0 {
            patience.pause()?;
        } else {
            patience.rest();
            begun.get_or_insert_with(Instant::now);
        }
    }
    let nanos = begun.map_or(0, |begun| nanos_between(begun, Instant::now()));
    tally.verify(W)?;
    Ok(Sample::Rate { messages: tally.messages(), nanos })
}

fn time_round_trips<const W: usize, S: Sender<W>, R: Receiver<W>>(
    ends: &mut Ends<S, R>,
    duration: Duration,
    yields: bool,
) -> Result<Sample, PeerError> {
    let (mut source, mut tally) = (Source::new(), Tally::default());
    let mut patience = Patience::new("an answer", yields);
    let mut laps = Laps::begin(duration);
    loop {
        send_one(&mut ends.sender, &mut source, &mut patience)?;
        while ends.receiver.receive(&mut |message| tally.note(message))? == 0 {
            patience.pause()?;
        }
        patience.rest();
        if !laps.lap() {
            break;
        }
    }
    send_end(&mut ends.sender, &mut source, &mut patience)?;
    tally.verify(W)?;
    laps.summary()
}

fn answer_all<const W: usize, S: Sender<W>, R: Receiver<W>>(
    ends: &mut Ends<S, R>,
    yields: bool,
) -> Result<(), PeerError> {
    let (mut source, mut tally) = (Source::new(), Tally::default());
    let mut patience = Patience::new("a question", yields);
    loop {
        let received = ends.receiver.receive(&mut |message| tally.note(message))?;
        if tally.ended() {
            return tally.verify(W);
        }
        if received == 0 {
            patience.pause()?;
            continue;
        }
        patience.rest();
        // The question was read whole and verified; its answer is written whole, with the same words.
        send_one(&mut ends.sender, &mut source, &mut patience)?;
    }
}

fn wake_for<const W: usize>(
    sender: &mut impl Sender<W>,
    duration: Duration,
    yields: bool,
) -> Result<(), PeerError> {
    let (mut source, mut patience) = (Source::new(), Patience::new("room for a message", yields));
    let begun = Instant::now();
    while begun.elapsed() < duration {
        give_time_to_sleep(yields);
        source.stamp(now());
        send_one(sender, &mut source, &mut patience)?;
    }
    give_time_to_sleep(yields);
    send_end(sender, &mut source, &mut patience)
}

/// The sender stays awake meanwhile, if it has a core of its own: its own waking is not what is measured.
pub fn give_time_to_sleep(yields: bool) {
    if yields {
        return std::thread::sleep(SLEEP_TIME);
    }
    let begun = Instant::now();
    while begun.elapsed() < SLEEP_TIME {
        std::hint::spin_loop();
    }
}

fn sleep_and_wake<const W: usize>(receiver: &mut impl Receiver<W>) -> Result<Sample, PeerError> {
    let (mut tally, mut nanos) = (Tally::default(), Vec::with_capacity(4096));
    let mut heard = Instant::now();
    while !tally.ended() {
        receiver.sleep(SLEEP_LIMIT)?;
        let received = receiver.receive(&mut |message: &[u64; W]| {
            tally.note(message);
            nanos.push(now().saturating_sub(message[1]));
        })?;
        if received > 0 {
            heard = Instant::now();
        } else if heard.elapsed() > STALL_LIMIT {
            return Err(PeerError::Stalled { what: "a wake-up", limit_ms: STALL_LIMIT.as_millis() });
        }
    }
    // The last one ended it.
    nanos.pop();
    tally.verify_order()?;
    summary(nanos)
}
