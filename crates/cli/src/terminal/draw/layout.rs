//! Dividing the rows of the screen among its parts.

/// What a part wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// 0 is served first.
    pub(super) importance: u8,
    /// With fewer rows it is left out.
    pub(super) least: u16,
    /// With more rows it has no use for them.
    pub(super) most: u16,
}

/// Rows for each part, in the order given: the least for each as far as the rows go, then more,
/// both in order of importance.
pub(super) fn allot<const N: usize>(rows: u16, parts: &[Part; N]) -> [u16; N] {
    let mut order: [usize; N] = std::array::from_fn(|i| i);
    order.sort_by_key(|&i| parts[i].importance);
    let (mut left, mut heights) = (rows, [0; N]);
    for &i in &order {
        if parts[i].least > left {
            break;
        }
        heights[i] = parts[i].least.min(parts[i].most);
        left -= heights[i];
    }
    for &i in order.iter().filter(|&&i| parts[i].least > 0) {
        if heights[i] > 0 {
            let more = left.min(parts[i].most - heights[i]);
            heights[i] += more;
            left -= more;
        }
    }
    heights
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTS: [Part; 3] = [
        Part { importance: 1, least: 2, most: 4 },
        Part { importance: 0, least: 1, most: 2 },
        Part { importance: 2, least: 2, most: u16::MAX },
    ];

    #[test]
    fn allot_serves_the_important_first_and_never_more_than_there_is() {
        assert_eq!(allot(0, &PARTS), [0, 0, 0]);
        assert_eq!(allot(2, &PARTS), [0, 2, 0]);
        assert_eq!(allot(3, &PARTS), [2, 1, 0]);
        assert_eq!(allot(6, &PARTS), [2, 2, 2]);
        assert_eq!(allot(20, &PARTS), [4, 2, 14]);
        for rows in 0..100 {
            assert!(allot(rows, &PARTS).iter().sum::<u16>() <= rows);
        }
    }
}
