use super::*;
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Seek, SeekFrom, Write},
};

/// Bits of an f64 that no arithmetic may touch, and a count; both merge in any order.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Bits {
    bits: u64,
    count: u32,
}

impl Payload for Bits {
    const BYTES: usize = 12;

    fn merge(&mut self, other: Self) {
        self.bits ^= other.bits;
        self.count = self.count.wrapping_add(other.count);
    }

    fn encode(self, bytes: &mut Vec<u8>) {
        bytes.extend(self.bits.to_le_bytes());
        bytes.extend(self.count.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (bits, count) = bytes.split_first_chunk()?;
        let count = u32::from_le_bytes(count.try_into().ok()?);
        Some(Self { bits: u64::from_le_bytes(*bits), count })
    }
}

const TINY: Limits = Limits { buffer_bytes: 256, block_bytes: 48, fan_in: 3 };

fn entry(bits: u64) -> Bits {
    Bits { bits, count: 1 }
}

fn sorted<P: Payload>(sort: SpillSort<P>) -> Result<Vec<(Vec<u8>, P)>> {
    let mut all = Vec::new();
    sort.finish(|key, payload| {
        all.push((key.to_vec(), payload));
        Ok(())
    })?;
    Ok(all)
}

/// A sort beside `table` with many runs on disk.
fn spilled(table: &Path) -> SpillSort<Bits> {
    let mut sort = SpillSort::new(table, TINY);
    for number in 0..200_u64 {
        sort.push(format!("{:03}", number * 7 % 200).as_bytes(), entry(number)).unwrap();
    }
    assert!(sort.runs.len() > 2 * TINY.fan_in, "{} runs", sort.runs.len());
    sort
}

#[test]
fn spill_sort_small_input_makes_no_file() {
    let mut sort = SpillSort::new(Path::new("no/such/folder/table"), Limits::DEFAULT);
    for number in 0..1000_u64 {
        sort.push(&(number % 10).to_be_bytes(), entry(1)).unwrap();
    }
    assert!(sort.file.is_none());
    assert_eq!(sorted(sort).unwrap().len(), 10);
}

#[test]
fn spill_sort_repeated_keys_never_leave_memory() {
    let mut sort = SpillSort::new(Path::new("no/such/folder/table"), TINY);
    for number in 0..10_000_u64 {
        sort.push(&[(number % 3) as u8], entry(number)).unwrap();
        assert!(sort.buffer.bytes_with(b"") <= 2 * TINY.buffer_bytes);
    }
    let counts: Vec<u32> = sorted(sort).unwrap().iter().map(|(_, bits)| bits.count).collect();
    assert_eq!(counts, [3334, 3333, 3333]);
}

#[test]
fn spill_sort_buffer_stays_within_its_limit() {
    let folder = tempfile::tempdir().unwrap();
    let mut sort = SpillSort::new(&folder.path().join("table"), TINY);
    for number in 0..5000_u64 {
        sort.push(&number.to_be_bytes(), entry(number)).unwrap();
        assert!(sort.buffer.bytes_with(b"") <= TINY.buffer_bytes + 64);
    }
    // After a key of another size the buffer gives the room back.
    sort.push(&[b'x'; 100_000], entry(0)).unwrap();
    sort.push(b"after", entry(0)).unwrap();
    assert!(sort.buffer.capacity_bytes() < 10_000, "{}", sort.buffer.capacity_bytes());
}

#[test]
fn spill_sort_merge_surplus_leaves_fan_in_runs() {
    let folder = tempfile::tempdir().unwrap();
    let mut sort = spilled(&folder.path().join("table"));
    sort.merge_surplus().unwrap();
    assert_eq!(sort.runs.len(), TINY.fan_in);
}

#[test]
fn spill_sort_leaves_no_name_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let sort = spilled(&folder.path().join("table"));
    // While it runs: a killed process leaves nothing either.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    assert!(sort.file.as_ref().unwrap().metadata().unwrap().len() > 1000);
    assert_eq!(sorted(sort).unwrap().len(), 200);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[cfg(target_os = "linux")]
#[test]
fn spill_sort_file_is_in_the_folder_of_the_output() {
    let folder = tempfile::tempdir().unwrap();
    let sort = spilled(&folder.path().join("table"));
    let file = sort.file.as_ref().unwrap();
    let number = std::os::fd::AsRawFd::as_raw_fd(file);
    let link = fs::read_link(format!("/proc/self/fd/{number}")).unwrap();
    let inside = folder.path().canonicalize().unwrap();
    assert!(link.starts_with(&inside), "{} is not in {}", link.display(), inside.display());
}

#[test]
fn spill_sort_unusable_folder_names_output() {
    let mut sort = SpillSort::new(Path::new("no/such/folder/table"), TINY);
    let error = (0..100_u64).try_for_each(|n| sort.push(&n.to_be_bytes(), entry(n))).unwrap_err();
    assert!(matches!(error, Error::Spill { .. }));
    let message = error.to_string();
    assert!(message.starts_with("cannot make no/such/folder/table: the temporary"), "{message}");
    assert!(!message.contains('\n'));
}

#[cfg(target_os = "linux")]
#[test]
fn spill_sort_full_disk_names_output_at_every_stage() {
    let full = || fs::OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    let check = |error: Error| {
        let Error::Spill { path, source } = &error else {
            panic!("{error}");
        };
        assert_eq!((path, source.kind()), (&table, io::ErrorKind::StorageFull));
    };
    let mut sort = SpillSort::new(&table, TINY);
    sort.file = Some(full());
    check((0..100_u64).try_for_each(|n| sort.push(&n.to_be_bytes(), entry(n))).unwrap_err());
    let mut sort = spilled(&table);
    assert!(!sort.buffer.is_empty());
    sort.file = Some(full());
    check(sorted(sort).unwrap_err());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn spill_sort_any_flipped_bit_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    let bytes = spilled(&table).file_bytes;
    for position in (0..bytes).step_by(13) {
        let sort = spilled(&table);
        let mut file = sort.file.as_ref().unwrap();
        let mut byte = [0];
        file.seek(SeekFrom::Start(position)).unwrap();
        file.read_exact(&mut byte).unwrap();
        file.seek(SeekFrom::Start(position)).unwrap();
        file.write_all(&[byte[0] ^ 1 << (position % 8)]).unwrap();
        let error = sorted(sort).unwrap_err();
        assert!(matches!(&error, Error::Spill { path, .. } if *path == table), "byte {position}");
        assert!(error.to_string().ends_with("it changed after it was written"), "{error}");
    }
}

#[test]
fn spill_sort_cut_or_swapped_file_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table");
    let sort = spilled(&table);
    sort.file.as_ref().unwrap().set_len(sort.file_bytes / 2).unwrap();
    assert!(sorted(sort).unwrap_err().to_string().contains("it changed"));
    // Two intact blocks of the same length in each other's place.
    let sort = spilled(&table);
    let mut file = sort.file.as_ref().unwrap();
    let mut blocks = [[0; 8 + 48]; 2];
    file.rewind().unwrap();
    blocks.iter_mut().for_each(|block| file.read_exact(block).unwrap());
    file.rewind().unwrap();
    blocks.iter().rev().for_each(|block| file.write_all(block).unwrap());
    assert!(sorted(sort).unwrap_err().to_string().contains("it changed"));
}

#[test]
fn spill_sort_visitor_error_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut visits = 0;
    let outcome = spilled(&folder.path().join("table")).finish(|_, _| {
        visits += 1;
        if visits == 3 { Err(io::Error::from(io::ErrorKind::StorageFull).into()) } else { Ok(()) }
    });
    assert!(matches!(outcome, Err(Error::Stream(_))));
    assert_eq!(visits, 3);
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    let nasty = prop_oneof![Just(b'\t'), Just(b'\n'), Just(0), Just(b'a'), Just(0xff)];
    prop_oneof![
        8 => prop::collection::vec(nasty, 0..4),
        8 => any::<u16>().prop_map(|number| number.to_string().into_bytes()),
        // Longer than a block, than the buffer, and than one byte of length.
        1 => (0_usize..2000, 0_u8..3).prop_map(|(length, letter)| vec![letter; length]),
    ]
}

fn bits() -> impl Strategy<Value = u64> {
    let nans = [f64::NAN, -f64::NAN, -0.0, 0.0, f64::INFINITY].map(f64::to_bits);
    prop_oneof![prop::sample::select(nans.to_vec()), any::<u64>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn prop_spill_sort_equals_btree_map(
        entries in prop::collection::vec((key(), bits()), 0..600),
        buffer_bytes in 1_usize..2000,
        block_bytes in 1_usize..100,
        fan_in in 2_usize..6,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { buffer_bytes, block_bytes, fan_in };
        let mut sort = SpillSort::new(&folder.path().join("table"), limits);
        let mut expected = BTreeMap::<Vec<u8>, Bits>::new();
        for (key, bits) in entries {
            sort.push(&key, entry(bits)).unwrap();
            expected
                .entry(key)
                .and_modify(|known| known.merge(entry(bits)))
                .or_insert(entry(bits));
        }
        prop_assert_eq!(sorted(sort).unwrap(), expected.into_iter().collect::<Vec<_>>());
    }
}
