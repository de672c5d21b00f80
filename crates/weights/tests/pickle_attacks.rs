//! Hostile pickles: every one ends in one line that names the file and the byte.

mod support;

use support::{Pickle, archive, good_archive, open, pickle_refused, refused};
use virnucpro_weights::{Value, WeightsError};

const FLOATS: [u8; 24] = [0; 24];

#[track_caller]
fn forbidden(pickle: Pickle, module: &str, name: &str) {
    let what = format!("the pickle wants to call {module}.{name}; refused");
    let error = pickle_refused(pickle, &what);
    assert!(matches!(error, WeightsError::ForbiddenGlobal { .. }));
}

#[test]
fn call_of_os_system_is_refused_at_its_byte() {
    let p = Pickle::new().global("posix", "system").text("touch /owned").op(b"\x85R");
    let file = archive(&p.clone().stop(), &[]);
    let at = file.windows(7).position(|w| w == b"cposix\n").unwrap() as u64;
    forbidden(p, "posix", "system");
    match refused(file, "posix.system") {
        WeightsError::ForbiddenGlobal { byte, .. } => assert_eq!(byte, at),
        other => panic!("{other}"),
    }
}

#[test]
fn call_of_foreign_names_is_refused() {
    for (module, name) in [
        ("os", "system"),
        ("nt", "system"),
        ("subprocess", "Popen"),
        ("builtins", "eval"),
        ("__builtin__", "exec"),
        ("builtins", "getattr"),
        ("builtins", "__import__"),
        ("torch", "load"),
        ("torch.hub", "load"),
        ("torch.nn.modules.module", "Module"),
        ("_codecs", "encode"),
        ("copyreg", "_reconstructor"),
        ("functools", "partial"),
        ("operator", "attrgetter"),
        ("__main__", "Evil"),
    ] {
        forbidden(Pickle::new().global(module, name).text("1").op(b"\x85R"), module, name);
        // STACK_GLOBAL takes the two names from the stack.
        forbidden(Pickle::new().text(module).text(name).op(b"\x93)R"), module, name);
        // INST names the class inside the instruction.
        let inst = format!("(i{module}\n{name}\n");
        forbidden(Pickle::new().op(inst.as_bytes()), module, name);
        // NEWOBJ and BUILD never get that far.
        forbidden(Pickle::new().global(module, name).op(b")\x81}b"), module, name);
    }
}

#[test]
fn numpy_objects_are_refused_with_advice() {
    let p = Pickle::new().global("numpy.core.multiarray", "_reconstruct").op(b")R");
    pickle_refused(p, "torch.from_numpy");
}

#[test]
fn unknown_instructions_are_refused() {
    for (op, what) in [
        (&b"\x82\x01"[..], "EXT"),
        (b"\x83\x01\x00", "EXT"),
        (b"\x84\x01\x00\x00\x00", "EXT"),
        (b"(c__main__\nMLPClassifier\no", "OBJ"),
        (b"c__main__\nMLPClassifier\n)}\x92", "NEWOBJ_EX"),
        (b"Pstorage\n", "PERSID"),
        (b"I1\n", "protocol 0"),
        (b"\x97", "buffer"),
        (b"\xff", "unknown instruction"),
        (b"\x80\x06", "protocol 6"),
    ] {
        let error = pickle_refused(Pickle::new().op(op), what);
        assert!(matches!(error, WeightsError::BadPickle { .. }), "{error}");
    }
}

#[test]
fn call_of_listed_names_in_other_ways_is_refused() {
    let dict = ("collections", "OrderedDict");
    for (pickle, what) in [
        // A list of pairs: not needed, and a way to copy without bound.
        (Pickle::new().global(dict.0, dict.1).op(b"]\x85R"), "OrderedDict with 1 arguments"),
        (Pickle::new().global(dict.0, dict.1).op(b"]R"), "with a list instead of a tuple"),
        (Pickle::new().text("x").op(b")R"), "calls a text"),
        (Pickle::new().global("torch", "float32").op(b")R"), "calls torch.float32"),
        (Pickle::new().global("torch", "FloatStorage").op(b")R"), "calls torch.FloatStorage"),
        (Pickle::new().global("torch", "FloatStorage").op(b")\x81"), "an instance of"),
        (Pickle::new().global("builtins", "set").int(3).op(b"\x85R"), "made from an integer"),
        (Pickle::new().op(b"]}b"), "sets attributes of a list"),
        (Pickle::new().global("torch", "Size").op(b"}b"), "sets attributes of a class"),
        (Pickle::new().global("argparse", "Namespace").op(b")\x81}b}b"), "state twice"),
        (Pickle::new().global("argparse", "Namespace").op(b")\x81]b"), "a list as the state"),
        (Pickle::new().op(b"]}Na"), "appends to a dict"),
        (Pickle::new().op(b"]NNs"), "sets items of a list"),
        (Pickle::new().op(b"}(Nu"), "a key without a value"),
        (Pickle::new().op(b"NN"), "unfinished values"),
        (Pickle::new().op(b"(N"), "unfinished values"),
        (Pickle::new(), "the stack is empty"),
        (Pickle::new().op(b"N(\x850"), "the stack is empty"),
        (Pickle::new().op(b"e"), "there is none"),
        (Pickle::new().op(b"h\x05"), "memo place 5"),
        (Pickle::new().op(b"\x8a\x09123456789"), "more than 64 bits"),
    ] {
        pickle_refused(pickle, what);
    }
}

#[test]
fn declared_lengths_beyond_the_file_are_refused() {
    let huge = (1u64 << 63).to_le_bytes();
    for pickle in [
        Pickle::new().op(&[0x8d]).op(&huge),
        Pickle::new().op(&[0x8e]).op(&huge),
        Pickle::new().op(&[0x96]).op(&huge),
        Pickle::new().op(b"X\xff\xff\xff\xff"),
        Pickle::new().op(b"B\xff\xff\xff\xff"),
        Pickle::new().op(b"T\xff\xff\xff\xff"),
        Pickle::new().op(&[0x8b, 0xff, 0xff, 0xff, 0xff]),
        Pickle::new().op(&[0x8a, 200]),
    ] {
        pickle_refused(pickle, "are left in the pickle");
    }
    pickle_refused(Pickle::new().op(&[0x95]).op(&huge), "a frame reaches beyond");
    pickle_refused(Pickle::new().op(b"X\x02\0\0\0\xff\xfe"), "not UTF-8");
}

#[track_caller]
fn tensor_refused(numel: i64, layout: (i64, &[i64], &[i64]), what: &str) {
    let p = Pickle::new().tensor("FloatStorage", "0", numel, layout);
    refused(archive(&p.stop(), &[("0", &FLOATS)]), what);
}

#[test]
fn tensor_that_leaves_its_storage_is_refused() {
    for numel in [7, 5, 0, -1, i64::MAX, 1 << 61, 1 << 62] {
        tensor_refused(numel, (0, &[1], &[1]), "the archive holds 24 bytes");
    }
    for layout in [
        (0i64, &[7i64][..], &[1i64][..]),
        (6, &[1], &[1]),
        (1, &[3, 2], &[2, 1]),
        (0, &[2], &[6]),
        (i64::MAX, &[1], &[1]),
        (0, &[2, 2], &[i64::MAX, i64::MAX]),
        (0, &[i64::MAX], &[1]),
    ] {
        tensor_refused(6, layout, "tensor of storage 0");
    }
    tensor_refused(6, (-1, &[1], &[1]), "offset -1 is negative");
    tensor_refused(6, (0, &[-1], &[1]), "extent -1 is negative");
    tensor_refused(6, (5, &[6], &[-1]), "stride -1 is negative");
    tensor_refused(6, (0, &[6], &[0]), "more than once");
    tensor_refused(6, (0, &[1 << 40], &[0]), "more than once");
    tensor_refused(6, (0, &[2, 3], &[1, 1]), "more than once");
    tensor_refused(6, (0, &[6], &[1, 1]), "differ in length");
    tensor_refused(6, (0, &[1; 40], &[1; 40]), "40 dimensions");
    tensor_refused(6, (0, &[i64::MAX, i64::MAX, i64::MAX], &[1, 1, 1]), "can be counted");
}

#[test]
fn storage_that_is_not_there_is_refused() {
    let p = |key: &str| Pickle::new().tensor("FloatStorage", key, 6, (0, &[6], &[1])).stop();
    refused(archive(&p("1"), &[("0", &FLOATS)]), "storage 1 is not in the archive");
    refused(archive(&p("../data/0"), &[("0", &FLOATS)]), "is not in the archive");
    refused(archive(&p("0\nroot: ok"), &[("0", &FLOATS)]), "storage 0\\nroot: ok is not");
}

#[test]
fn storage_of_an_unused_type_is_refused() {
    for class in ["CharStorage", "ComplexFloatStorage", "QInt8Storage"] {
        let p = Pickle::new().tensor(class, "0", 24, (0, &[24], &[1]));
        let error = refused(archive(&p.stop(), &[("0", &FLOATS)]), class);
        assert!(matches!(error, WeightsError::UnsupportedDType { .. }));
    }
}

#[test]
fn persistent_id_of_another_form_is_refused() {
    for pickle in [
        Pickle::new().text("storage").op(b"Q"),
        Pickle::new().op(b"(").text("module").op(b"tQ"),
        Pickle::new().op(b"(").text("module").text("a").text("b").text("c").int(1).op(b"tQ"),
        Pickle::new().op(b"(").text("storage").text("a").text("b").text("c").int(1).op(b"tQ"),
        Pickle::new()
            .op(b"(")
            .text("storage")
            .global("torch", "Size")
            .text("0")
            .text("cpu")
            .int(6)
            .op(b"tQ"),
    ] {
        pickle_refused(pickle, "not a torch storage");
    }
    let bare = Pickle::new().storage("FloatStorage", "0", 6);
    refused(archive(&bare.stop(), &[("0", &FLOATS)]), "where a tensor belongs");
    let p = Pickle::new().global("torch._utils", "_rebuild_tensor_v2").ints(&[1, 2, 3, 4]).op(b"R");
    pickle_refused(p, "not made from a torch storage");
    let p = Pickle::new().global("torch._utils", "_rebuild_parameter").op(b"NNN\x87R");
    pickle_refused(p, "a parameter made from None");
}

#[test]
fn cycle_through_the_memo_is_refused() {
    pickle_refused(Pickle::new().op(b"]q\x00h\x00a"), "contains itself");
    pickle_refused(Pickle::new().op(b"}q\x00").text("x").op(b"h\x00s"), "contains itself");
    let p =
        Pickle::new().global("argparse", "Namespace").op(b")\x81q\x00}").text("me").op(b"h\x00sb");
    pickle_refused(p, "contains itself");
    // A list that a set was made from, with the set put into it afterwards.
    let p = Pickle::new().global("builtins", "set").op(b"]q\x00\x85Rq\x01h\x00h\x01a0");
    pickle_refused(p, "contains itself");
}

#[test]
fn nesting_is_bounded_however_it_is_built() {
    let deep = |levels: usize| Pickle::new().op(&vec![b']'; levels]).op(&vec![b'a'; levels - 1]);
    assert!(open(archive(&deep(200).stop(), &[])).is_ok());
    pickle_refused(deep(201), "nest deeper");
    pickle_refused(deep(1_000_000), "nest deeper");
    let tuples = Pickle::new().op(b"N").op(&vec![0x85; 1_000_000]);
    pickle_refused(tuples, "nest deeper");
    // Every list is finished before the one around it is looked at, so the path stays short.
    let mut p = Pickle::new().op(b"](]q\x00");
    for _ in 0..100_000 {
        p = p.op(b"]h\x00aq\x00");
    }
    pickle_refused(p.op(b"e"), "nest deeper");
}

#[test]
fn memo_bomb_stays_linear() {
    // Each level holds the one below ten times: 10^100 paths.
    let mut p = Pickle::new().op(b"]q\x00");
    for _ in 0..100 {
        p = p.op(b"0](h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00eq\x00");
    }
    let bomb = open(archive(&p.stop(), &[])).unwrap();
    let root = bomb.root().unwrap();
    assert_eq!(root.as_items().unwrap().len(), 10);
    assert!(format!("{root:?}").len() < 100);
}

#[test]
fn collections_made_from_one_list_share_it() {
    // 20 000 sets of one list of 20 000 would be 400 million elements if they were copied.
    let mut p = Pickle::new().global("builtins", "set").op(b"q\x000](").op(&vec![b'N'; 20_000]);
    p = p.op(b"eq\x010](");
    for _ in 0..20_000 {
        p = p.op(b"h\x00h\x01\x85R");
    }
    let checkpoint = open(archive(&p.op(b"e").stop(), &[])).unwrap();
    let sets = checkpoint.root().unwrap().as_items().unwrap();
    assert_eq!(sets.len(), 20_000);
    let first = sets[0].as_items().unwrap().as_ptr();
    assert!(sets.iter().all(|set| set.as_items().unwrap().as_ptr() == first));
}

#[test]
fn shared_modules_do_not_multiply() {
    // Thirty levels, each with the one below twice: 2^30 tensors by name.
    let module = |p: Pickle| p.global("torch.nn.modules.container", "Sequential").op(b")\x81}(");
    let mut p = module(Pickle::new()).text("_parameters").op(b"}").text("w");
    p = p.tensor("FloatStorage", "0", 6, (0, &[6], &[1])).op(b"s").text("_buffers").op(b"}");
    p = p.text("_modules").op(b"}ubq\x000");
    for _ in 0..30 {
        p = module(p).text("_parameters").op(b"}").text("_buffers").op(b"}").text("_modules");
        p = p.op(b"}(").text("0").op(b"h\x00").text("1").op(b"h\x00uubq\x000");
    }
    refused(archive(&p.op(b"h\x00").stop(), &[("0", &FLOATS)]), "values in one module");
}

#[test]
fn tensor_name_length_is_bounded() {
    let p = Pickle::new().op(b"}").text(&"x".repeat(2000));
    let p = p.tensor("FloatStorage", "0", 6, (0, &[6], &[1])).op(b"s");
    refused(archive(&p.stop(), &[("0", &FLOATS)]), "longer than 1024 bytes");
}

#[test]
fn repeated_tensor_name_is_refused() {
    let tensor = |p: Pickle| p.text("w").tensor("FloatStorage", "0", 6, (0, &[6], &[1]));
    let p = tensor(tensor(Pickle::new().op(b"}("))).op(b"u");
    refused(archive(&p.stop(), &[("0", &FLOATS)]), "tensor w occurs twice");
}

#[test]
fn too_many_values_are_refused() {
    let p = Pickle::new().op(b"(").op(&vec![b'N'; 5 << 20]).op(b"t");
    pickle_refused(p, "values in one pickle");
    pickle_refused(Pickle::new().op(&vec![b'('; 17 << 20]), "at most 16777216 are read");
}

#[test]
fn good_archive_is_read_in_every_detail() {
    let checkpoint = open(good_archive()).unwrap();
    let names: Vec<&str> = checkpoint.names().collect();
    // `cache` is a buffer that is not persistent.
    assert_eq!(names, ["layer.count", "layer.tied", "layer.weight"]);
    let weight = checkpoint.get("layer.weight").unwrap();
    assert_eq!(weight.shape(), [3, 2]);
    let floats = weight.to_f32_vec().unwrap();
    assert_eq!(floats, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    assert!(!checkpoint.tensor("layer.weight").unwrap().is_contiguous());
    assert_eq!(checkpoint.get("layer.count").unwrap().data(), 7i64.to_le_bytes());
    assert_eq!(checkpoint.classes(), ["__main__.MLPClassifier", "torch.nn.modules.linear.Linear"]);
    let module = checkpoint.root().unwrap().as_object().unwrap();
    assert!(matches!(module.args(), Value::Tuple(args) if args.is_empty()));
}

#[test]
fn pickle_cut_anywhere_is_an_error() {
    let good = good_archive();
    let length = good.len();
    for cut in 0..length {
        // The tail is the directory; without it nothing is found.
        assert!(open(good[..cut].to_vec()).is_err(), "cut at {cut}");
    }
    // The same for the pickle inside an archive that is whole.
    let start = good.windows(2).position(|w| w == b"\x80\x02").unwrap();
    let end = good.windows(4).position(|w| w == b"ub.P").unwrap() + 3;
    for cut in 0..end - start {
        let error = open(archive(&good[start..start + cut], &[("0", &FLOATS), ("1", &[0; 8])]));
        let line = error.expect_err("a cut pickle").to_string();
        assert!(line.starts_with("evil.pth: byte "), "{line}");
    }
}
