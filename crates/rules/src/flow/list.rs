//! How many seats a list takes (upstream: `list_work_estimator.go` of k8s.io/apiserver): what it reads, by what was read of the same collection the
//! last time.

/// What one seat stands for.
const BYTES_PER_SEAT: u64 = 100_000;
/// The most seats of one list; upstream's for lists that are not held in memory as a whole.
const MOST_SEATS: u64 = 10;

/// What was read of a collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Objects.
    pub objects: u64,
    /// Their bytes, as they are stored.
    pub bytes: u64,
}

impl Size {
    /// The same with so many more objects, which are as large.
    #[must_use]
    pub fn with(self, more: u64) -> Self {
        let average = self.bytes.checked_div(self.objects).unwrap_or_default();
        Self {
            objects: self.objects.saturating_add(more),
            bytes: self.bytes.saturating_add(average.saturating_mul(more)),
        }
    }
}

/// The seats of a list of at most so many objects; `selects` says whether some of those that are read may be left out. What has never been
/// listed costs one.
pub fn seats(size: Option<Size>, limit: Option<usize>, selects: bool) -> usize {
    let Some(Size { objects, bytes }) = size.filter(|size| size.objects > 0) else { return 1 };
    let limit = limit.and_then(|limit| u64::try_from(limit).ok()).unwrap_or(u64::MAX);
    let asked = limit.min(objects);
    // How many are read until enough are found that are selected is not known: half of all, as upstream has it.
    let read = if selects { asked.max(objects / 2) } else { asked };
    let seats = bytes.div_ceil(objects).saturating_mul(read).div_ceil(BYTES_PER_SEAT);
    usize::try_from(seats.clamp(1, MOST_SEATS)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_takes_a_seat_for_each_100_kilobytes_that_it_reads() {
        let check = |objects: u64, average: u64, limit: Option<usize>, selects: bool, expected: usize| {
            let size = Size { objects, bytes: objects * average };
            assert_eq!(seats(Some(size), limit, selects), expected, "{size:?} {limit:?} {selects}");
        };
        check(0, 0, None, false, 1);
        check(10, 2_000, None, false, 1);
        check(150, 2_000, None, false, 3);
        check(151, 2_000, None, false, 4);
        check(100_000, 2_000, None, false, 10);
        check(100_000, 2_000, Some(50), false, 1);
        check(500, 2_000, Some(50), true, 5);
        check(500, 2_000, Some(400), true, 8);
        check(u64::MAX / 2_000, 2_000, None, false, 10);
        assert_eq!(seats(None, None, false), 1);
        let page = Size { objects: 50, bytes: 100_000 };
        assert_eq!(page.with(100), Size { objects: 150, bytes: 300_000 });
        assert_eq!(Size::default().with(7), Size { objects: 7, bytes: 0 });
    }
}
