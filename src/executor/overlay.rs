//! The overlay: the writes of all current outputs of earlier rounds of a block, versioned by txn index.
//!
//! The coordinator writes it anew between rounds; shards read it while a round runs. Region layout: a head page, one
//! span per key, the versions key by key in txn order, then the bytes of long values.

use crate::partition::ArenaError;
use crate::types::{Delta, KeyId, NumberWidth, Origin, TxnIndex, number_of};
use bytemuck::{Pod, Zeroable};
use phalanx_ipc::{Region, RegionError, RegionReader};
use std::os::fd::OwnedFd;

/// Values up to this length lie in the version itself.
const INLINE_BYTES: usize = 32;
const PAGE: usize = 4096;
/// Keys or writes handled between two looks at the clock.
const PIECE: usize = 1 << 13;

const KIND_SET: u8 = 1;
const KIND_DELETE: u8 = 2;
const KIND_ADD: u8 = 3;
const KIND_SUBTRACT: u8 = 4;

/// Sizes of the sections in use.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
struct Head {
    keys: u64,
    versions: u64,
    bytes: u64,
}

/// Where the versions of one key lie.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
struct Span {
    start: u32,
    count: u32,
}

/// One write.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Version {
    origin: Origin,
    length: u32,
    kind: u8,
    width: u8,
    reserved: u16,
    /// The value, or the offset of a long one in its first 8 bytes, or the amount of an addition in its first 16.
    inline: [u8; INLINE_BYTES],
}

const _: () = assert!(size_of::<Version>() == 48 && size_of::<Span>() == 8);

/// A write to show.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shown<'a> {
    /// The value is this.
    Set(&'a [u8]),
    /// The key is absent.
    Delete,
    /// The number changes by this.
    Add(&'a Delta),
}

/// The coordinator's end.
#[derive(Debug)]
pub(super) struct OverlayWriter {
    region: Region,
    limits: OverlayLimits,
    /// Writes collected for the next overlay, in txn order.
    collected: Vec<(KeyId, Version)>,
    long_values: Vec<u8>,
    /// By key: where its next version goes.
    next: Vec<u32>,
}

/// Most that an overlay can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OverlayLimits {
    /// Distinct keys.
    pub(crate) keys: usize,
    /// Writes.
    pub(crate) versions: usize,
    /// Bytes of values over 32 bytes.
    pub(crate) bytes: usize,
}

impl OverlayLimits {
    /// Size of the region.
    pub(crate) fn region_bytes(&self) -> u64 {
        (self.bytes_start() + self.bytes) as u64
    }

    fn versions_start(&self) -> usize {
        PAGE + (self.keys * size_of::<Span>()).next_multiple_of(PAGE)
    }

    fn bytes_start(&self) -> usize {
        self.versions_start() + (self.versions * size_of::<Version>()).next_multiple_of(PAGE)
    }
}

impl OverlayWriter {
    pub(super) fn create(limits: OverlayLimits) -> Result<OverlayWriter, RegionError> {
        let region = Region::create("phalanx-overlay", limits.bytes_start() + limits.bytes)?;
        Ok(OverlayWriter { region, limits, collected: Vec::new(), long_values: Vec::new(), next: Vec::new() })
    }

    pub(super) fn region(&self) -> &Region {
        &self.region
    }

    pub(super) fn reader_fd(&self) -> Result<OwnedFd, RegionError> {
        self.region.reader_fd()
    }

    /// Starts a new overlay.
    pub(super) fn clear(&mut self) {
        self.collected.clear();
        self.long_values.clear();
    }

    /// Adds one write. Call in txn order per key.
    pub(super) fn show(&mut self, key: KeyId, origin: Origin, write: Shown<'_>) {
        let mut version = Version { origin, ..Version::zeroed() };
        match write {
            Shown::Delete => version.kind = KIND_DELETE,
            Shown::Add(delta) => {
                version.kind = if delta.negative { KIND_SUBTRACT } else { KIND_ADD };
                version.width = delta.width as u8;
                version.inline[..16].copy_from_slice(&delta.amount.to_le_bytes());
            }
            Shown::Set(value) => {
                version.kind = KIND_SET;
                version.length = u32::try_from(value.len()).unwrap_or(u32::MAX);
                if value.len() <= INLINE_BYTES {
                    version.inline[..value.len()].copy_from_slice(value);
                } else {
                    let offset = self.long_values.len() as u64;
                    self.long_values.extend_from_slice(value);
                    version.inline[..8].copy_from_slice(&offset.to_le_bytes());
                }
            }
        }
        self.collected.push((key, version));
    }

    /// Publishes what was collected, for a block with `keys` known keys. Shards must be quiet. `look` is called now and
    /// then and may end it: then no overlay may be used before the next one is published.
    ///
    /// # Errors
    /// [`ArenaError::BlockTooLarge`] when the block's writes exceed the overlay; what `look` says.
    pub(super) fn publish<E: From<ArenaError> + From<RegionError>>(
        &mut self,
        keys: usize,
        mut look: impl FnMut() -> Result<(), E>,
    ) -> Result<(), E> {
        let fits = |what, needed, limit| {
            if needed > limit { Err(ArenaError::BlockTooLarge { what, needed, limit }) } else { Ok(()) }
        };
        fits("distinct keys", keys, self.limits.keys)?;
        fits("writes", self.collected.len(), self.limits.versions)?;
        fits("bytes of long values", self.long_values.len(), self.limits.bytes)?;
        self.publish_spans(keys, &mut look)?;
        let versions =
            self.region.slice_mut::<Version>(self.limits.versions_start(), self.collected.len())?;
        for piece in self.collected.chunks(PIECE) {
            look()?;
            for (key, version) in piece {
                // Versions of one key stay in txn order: each goes behind the one before.
                let Some(next) = self.next.get_mut(key.index()) else { continue };
                versions[*next as usize] = *version;
                *next += 1;
            }
        }
        look()?;
        let bytes = self.region.slice_mut::<u8>(self.limits.bytes_start(), self.long_values.len())?;
        bytes.copy_from_slice(&self.long_values);
        let head = Head {
            keys: keys as u64,
            versions: self.collected.len() as u64,
            bytes: self.long_values.len() as u64,
        };
        self.region.slice_mut::<Head>(0, 1)?[0] = head;
        Ok(())
    }

    /// Counts the versions of every key, gives each key its span, and leaves the spans' starts in `next`.
    fn publish_spans<E: From<RegionError>>(
        &mut self,
        keys: usize,
        look: &mut impl FnMut() -> Result<(), E>,
    ) -> Result<(), E> {
        let spans = self.region.slice_mut::<Span>(PAGE, keys)?;
        for piece in spans.chunks_mut(PIECE) {
            look()?;
            piece.fill(Span::default());
        }
        for piece in self.collected.chunks(PIECE) {
            look()?;
            for (key, _) in piece {
                if let Some(span) = spans.get_mut(key.index()) {
                    span.count += 1;
                }
            }
        }
        self.next.clear();
        self.next.reserve(keys);
        let mut start = 0;
        for piece in spans.chunks_mut(PIECE) {
            look()?;
            for span in piece {
                span.start = start;
                self.next.push(start);
                start += span.count;
            }
        }
        Ok(())
    }
}

/// A shard's end; may be asked only between the announcement of a round and parking.
#[derive(Debug)]
pub(super) struct OverlayReader {
    region: RegionReader,
    limits: OverlayLimits,
}

/// A value on its way from the base state through the writes of earlier transactions.
pub(super) trait ValueFold {
    /// The value is this now.
    fn set(&mut self, value: Option<&[u8]>, origin: Origin);
    /// The value as a number.
    fn number(&self) -> Option<u128>;
}

impl OverlayReader {
    pub(super) fn new(region: RegionReader, limits: OverlayLimits) -> OverlayReader {
        OverlayReader { region, limits }
    }

    /// What the overlay shows in the present round.
    pub(super) fn versions(&self) -> Versions<'_> {
        let head = self.region.slice::<Head>(0, 1).map_or(Head::zeroed(), |heads| heads[0]);
        let OverlayLimits { keys, versions, bytes } = self.limits;
        // A count that makes no sense shows nothing.
        let count =
            |number: u64, most| usize::try_from(number).ok().filter(|&count| count <= most).unwrap_or(0);
        let spans = self.region.slice(PAGE, count(head.keys, keys)).unwrap_or(&[]);
        let start = self.limits.versions_start();
        let versions = self.region.slice(start, count(head.versions, versions)).unwrap_or(&[]);
        let start = self.limits.bytes_start();
        let bytes = self.region.slice(start, count(head.bytes, bytes)).unwrap_or(&[]);
        Versions { spans, versions, bytes }
    }
}

/// What an overlay shows while a round runs.
#[derive(Clone, Copy)]
pub(super) struct Versions<'a> {
    spans: &'a [Span],
    versions: &'a [Version],
    bytes: &'a [u8],
}

impl std::fmt::Debug for Versions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Versions { spans, versions, bytes } = self;
        write!(f, "Versions of {} keys: {} with {} bytes", spans.len(), versions.len(), bytes.len())
    }
}

impl Versions<'_> {
    /// Nothing.
    pub(super) const NONE: Versions<'static> = Versions { spans: &[], versions: &[], bytes: &[] };

    /// Whether there are any of `key`.
    #[inline]
    pub(super) fn has_any_of(&self, key: KeyId) -> bool {
        self.spans.get(key.index()).is_some_and(|span| span.count > 0)
    }

    /// Applies to `value` the writes of `key` by transactions in `from..below`, in order.
    pub(super) fn fold(&self, key: KeyId, from: TxnIndex, below: TxnIndex, value: &mut impl ValueFold) {
        let Some(&Span { start, count }) = self.spans.get(key.index()) else { return };
        let versions = self.versions.get(start as usize..).and_then(|rest| rest.get(..count as usize));
        let versions = versions.unwrap_or(&[]);
        let first = versions.partition_point(|version| version.origin.txn() < Some(from));
        for version in
            versions[first..].iter().take_while(|version| version.origin.txn().is_some_and(|txn| txn < below))
        {
            self.apply(version, value);
        }
    }

    fn apply(&self, version: &Version, value: &mut impl ValueFold) {
        match version.kind {
            KIND_SET => {
                let length = version.length as usize;
                let found = if length <= INLINE_BYTES {
                    version.inline.get(..length)
                } else {
                    let offset = u64::from_le_bytes(version.inline.as_chunks::<8>().0[0]);
                    let rest = usize::try_from(offset).ok().and_then(|offset| self.bytes.get(offset..));
                    rest.and_then(|rest| rest.get(..length))
                };
                if let Some(found) = found {
                    value.set(Some(found), version.origin);
                }
            }
            KIND_DELETE => value.set(None, version.origin),
            kind => {
                let amount = number_of(Some(&version.inline[..16])).unwrap_or(0);
                let before = value.number().unwrap_or(0);
                let after = if kind == KIND_SUBTRACT {
                    before.saturating_sub(amount)
                } else {
                    before.saturating_add(amount)
                };
                let width = NumberWidth::from_bytes(version.width).unwrap_or(NumberWidth::Sixteen);
                let mut buffer = [0; 32];
                value.set(Some(width.encode(after, &mut buffer)), version.origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    //! What would break: what hardware made of an overlay is taken for values. Negative controls run: with counts that only the
    //! end of the region bounds, and with versions of nobody applied, it fails.

    use super::*;
    use crate::types::Incarnation;

    /// What was set, in order.
    #[derive(Default)]
    struct Seen(Vec<Vec<u8>>);

    impl ValueFold for Seen {
        fn set(&mut self, value: Option<&[u8]>, _: Origin) {
            self.0.push(value.unwrap_or_default().to_vec());
        }
        fn number(&self) -> Option<u128> {
            None
        }
    }

    fn seen(reader: &OverlayReader, key: u32) -> Vec<Vec<u8>> {
        let (mut seen, versions) = (Seen::default(), reader.versions());
        versions.fold(KeyId(key), TxnIndex(0), TxnIndex(9), &mut seen);
        assert!(versions.has_any_of(KeyId(key)) || seen.0.is_empty());
        seen.0
    }

    #[test]
    fn what_makes_no_sense_shows_nothing() {
        let limits = OverlayLimits { keys: 4, versions: 8, bytes: 200 };
        let mut writer = OverlayWriter::create(limits).unwrap();
        // SAFETY: this thread writes and reads by turns.
        #[allow(unsafe_code, reason = "a reader of the same memory in one thread")]
        let region = unsafe { RegionReader::map(writer.reader_fd().unwrap()) }.unwrap();
        let reader = OverlayReader::new(region, limits);
        let long = vec![7; 100];
        writer.show(KeyId(1), Origin::written_by(TxnIndex(3), Incarnation(1)), Shown::Set(b"short"));
        writer.show(KeyId(1), Origin::written_by(TxnIndex(5), Incarnation(1)), Shown::Set(&long));
        for origin in [1, 2].map(|txn| Origin::written_by(TxnIndex(txn), Incarnation(1))) {
            writer.show(KeyId(2), origin, Shown::Set(b"somebody's"));
        }
        writer.show(KeyId(2), Origin::BASE, Shown::Set(b"nobody's"));
        writer.publish::<crate::executor::validate_error::ValidateError>(4, || Ok(())).unwrap();
        assert_eq!([seen(&reader, 0), seen(&reader, 1)], [vec![], vec![b"short".to_vec(), long]]);
        assert_eq!(seen(&reader, 2), [b"somebody's", b"somebody's"]);

        let damage = |writer: &mut OverlayWriter, change: fn(&mut Head)| {
            let head = &mut writer.region.slice_mut::<Head>(0, 1).unwrap()[0];
            let before = *head;
            change(head);
            let shown = reader.versions();
            let counts = [shown.spans.len(), shown.versions.len(), shown.bytes.len()];
            writer.region.slice_mut::<Head>(0, 1).unwrap()[0] = before;
            counts
        };
        assert_eq!(damage(&mut writer, |_| {}), [4, 5, 100]);
        assert_eq!(damage(&mut writer, |head| head.keys = 5), [0, 5, 100]);
        assert_eq!(damage(&mut writer, |head| head.versions = u64::MAX), [4, 0, 100]);
        assert_eq!(damage(&mut writer, |head| head.bytes = 201), [4, 5, 0]);
    }
}
