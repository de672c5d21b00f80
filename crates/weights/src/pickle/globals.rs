//! The complete list of names a pickle may mention.
//!
//! Nothing here is ever called: each name stands for a rule of this crate that builds plain data.

use virnucpro_backend::DType;

/// A name on the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Global {
    /// `torch._utils._rebuild_tensor_v2` and its older form.
    RebuildTensor,
    /// `torch._utils._rebuild_parameter`.
    RebuildParameter,
    /// A storage class; the elements of the untyped one are bytes.
    Storage(&'static str, DType),
    /// A storage class that exists but whose elements this project does not use.
    UnusedStorage(&'static str),
    /// `collections.OrderedDict` or `dict`.
    Dict(&'static str),
    /// `list`.
    List,
    /// `set` or `frozenset`.
    Set(&'static str),
    /// `tuple` or `torch.Size`.
    Tuple(&'static str),
    /// A class of which an instance is kept as name, arguments and state.
    Inert(&'static str),
    /// An element type such as `torch.float32`; kept as its name.
    Constant(&'static str),
}

impl Global {
    /// The Python name, for messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::RebuildTensor => "torch._utils._rebuild_tensor_v2",
            Self::RebuildParameter => "torch._utils._rebuild_parameter",
            Self::List => "list",
            Self::Storage(name, _)
            | Self::UnusedStorage(name)
            | Self::Dict(name)
            | Self::Set(name)
            | Self::Tuple(name)
            | Self::Inert(name)
            | Self::Constant(name) => name,
        }
    }
}

/// Modules of `torch.nn` (and the original tool's classifier) that carry only tensors and
/// settings.
const INERT: &[(&str, &[&str])] = &[
    ("argparse", &["argparse.Namespace"]),
    ("torch", &["torch.device"]),
    ("__main__", &["__main__.MLPClassifier"]),
    (
        "torch.nn.modules.linear",
        &["torch.nn.modules.linear.Linear", "torch.nn.modules.linear.Identity"],
    ),
    (
        "torch.nn.modules.batchnorm",
        &["torch.nn.modules.batchnorm.BatchNorm1d", "torch.nn.modules.batchnorm.BatchNorm2d"],
    ),
    (
        "torch.nn.modules.dropout",
        &["torch.nn.modules.dropout.Dropout", "torch.nn.modules.dropout.Dropout1d"],
    ),
    (
        "torch.nn.modules.activation",
        &[
            "torch.nn.modules.activation.ReLU",
            "torch.nn.modules.activation.LeakyReLU",
            "torch.nn.modules.activation.GELU",
            "torch.nn.modules.activation.SiLU",
            "torch.nn.modules.activation.Tanh",
            "torch.nn.modules.activation.Sigmoid",
            "torch.nn.modules.activation.Softmax",
            "torch.nn.modules.activation.LogSoftmax",
        ],
    ),
    (
        "torch.nn.modules.container",
        &[
            "torch.nn.modules.container.Sequential",
            "torch.nn.modules.container.ModuleList",
            "torch.nn.modules.container.ModuleDict",
        ],
    ),
    ("torch.nn.modules.normalization", &["torch.nn.modules.normalization.LayerNorm"]),
    ("torch.nn.modules.sparse", &["torch.nn.modules.sparse.Embedding"]),
];

/// Looks a name up; `None` means it is refused.
///
/// # Source
/// pytorch/pytorch, torch/_weights_only_unpickler.py lists what tensors and storages need; the
/// module classes are those the original tool's classifier and close relatives are made of.
pub(super) fn find(module: &str, name: &str) -> Option<Global> {
    match module {
        "torch._utils" => match name {
            "_rebuild_tensor_v2" | "_rebuild_tensor" => Some(Global::RebuildTensor),
            "_rebuild_parameter" => Some(Global::RebuildParameter),
            _ => None,
        },
        "torch.storage" => match name {
            "UntypedStorage" => Some(Global::Storage("torch.UntypedStorage", DType::U8)),
            "TypedStorage" => Some(Global::UnusedStorage("torch.storage.TypedStorage")),
            _ => storage(name),
        },
        "collections" if name == "OrderedDict" => Some(Global::Dict("OrderedDict")),
        "builtins" | "__builtin__" => match name {
            "set" => Some(Global::Set("set")),
            "frozenset" => Some(Global::Set("frozenset")),
            "list" => Some(Global::List),
            "tuple" => Some(Global::Tuple("tuple")),
            "dict" => Some(Global::Dict("dict")),
            _ => None,
        },
        "torch" if name == "Size" => Some(Global::Tuple("torch.Size")),
        "torch" => storage(name).or_else(|| element_type(name)).or_else(|| inert(module, name)),
        _ => inert(module, name),
    }
}

fn inert(module: &str, name: &str) -> Option<Global> {
    let (_, classes) = INERT.iter().find(|(listed, _)| *listed == module)?;
    let class = classes.iter().find(|class| {
        class.strip_prefix(module).and_then(|rest| rest.strip_prefix('.')) == Some(name)
    })?;
    Some(Global::Inert(class))
}

fn storage(name: &str) -> Option<Global> {
    Some(match name {
        "FloatStorage" => Global::Storage("torch.FloatStorage", DType::F32),
        "HalfStorage" => Global::Storage("torch.HalfStorage", DType::F16),
        "BFloat16Storage" => Global::Storage("torch.BFloat16Storage", DType::BF16),
        "DoubleStorage" => Global::Storage("torch.DoubleStorage", DType::F64),
        "LongStorage" => Global::Storage("torch.LongStorage", DType::I64),
        "IntStorage" => Global::Storage("torch.IntStorage", DType::I32),
        "ByteStorage" => Global::Storage("torch.ByteStorage", DType::U8),
        "BoolStorage" => Global::Storage("torch.BoolStorage", DType::Bool),
        "UntypedStorage" => Global::Storage("torch.UntypedStorage", DType::U8),
        "CharStorage" => Global::UnusedStorage("torch.CharStorage"),
        "ShortStorage" => Global::UnusedStorage("torch.ShortStorage"),
        "ComplexFloatStorage" => Global::UnusedStorage("torch.ComplexFloatStorage"),
        "ComplexDoubleStorage" => Global::UnusedStorage("torch.ComplexDoubleStorage"),
        "QInt8Storage" => Global::UnusedStorage("torch.QInt8Storage"),
        "QUInt8Storage" => Global::UnusedStorage("torch.QUInt8Storage"),
        "QInt32Storage" => Global::UnusedStorage("torch.QInt32Storage"),
        _ => return None,
    })
}

fn element_type(name: &str) -> Option<Global> {
    const NAMES: &[&str] = &[
        "torch.float32",
        "torch.float16",
        "torch.bfloat16",
        "torch.float64",
        "torch.int64",
        "torch.int32",
        "torch.int16",
        "torch.int8",
        "torch.uint8",
        "torch.bool",
    ];
    let name = NAMES.iter().find(|full| full.strip_prefix("torch.") == Some(name))?;
    Some(Global::Constant(name))
}

/// What to do about a name that is refused, where there is a known way.
pub(crate) fn hint(module: &str) -> &'static str {
    if module == "numpy" || module.starts_with("numpy.") {
        ": numpy objects are not read; convert them with torch.from_numpy or float() and save again"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn find_listed_names_only() {
        for (module, name) in [
            ("os", "system"),
            ("posix", "system"),
            ("builtins", "eval"),
            ("builtins", "getattr"),
            ("__builtin__", "exec"),
            ("torch", "load"),
            ("torch", "hub"),
            ("torch", "Size.x"),
            ("torch.nn.modules.linear", "functional"),
            ("torch.nn.modules", "linear.Linear"),
            ("__main__", "Other"),
            ("__main__", "MLPClassifier.__init__"),
            ("collections", "OrderedDict.fromkeys"),
            ("", ""),
        ] {
            assert_eq!(find(module, name), None, "{module}.{name}");
        }
        assert_eq!(
            find("torch.nn.modules.linear", "Linear"),
            Some(Global::Inert("torch.nn.modules.linear.Linear"))
        );
        assert_eq!(find("torch", "device"), Some(Global::Inert("torch.device")));
        assert_eq!(find("torch", "float16"), Some(Global::Constant("torch.float16")));
    }
}
