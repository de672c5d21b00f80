//! Owns the text header of NPY files: the three keys and nothing else.

/// What an NPY header says about the array behind it.
#[derive(Debug, PartialEq)]
pub(super) struct Header {
    pub(super) descr: String,
    pub(super) fortran_order: bool,
    pub(super) shape: Vec<usize>,
}

/// Reads the dictionary `{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }`.
pub(super) fn parse(text: &str) -> Result<Header, String> {
    let mut rest = expect(text.trim(), "{")?;
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    while !rest.starts_with('}') {
        let (key, after) = quoted(rest)?;
        let value = expect(after, ":")?;
        rest = match key {
            "descr" if !value.starts_with(['\'', '"']) => {
                return Err("structured arrays are not supported".to_owned());
            }
            "descr" => set(&mut descr, quoted(value).map(|(d, r)| (d.to_owned(), r))?, key)?,
            "fortran_order" => set(&mut fortran_order, boolean(value)?, key)?,
            "shape" => set(&mut shape, tuple(value)?, key)?,
            other => return Err(format!("unexpected key {other:?} in the header")),
        };
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    if !rest[1..].trim().is_empty() {
        return Err("text after the header's closing brace".to_owned());
    }
    let missing = |key: &str| format!("the header has no {key:?}");
    Ok(Header {
        descr: descr.ok_or_else(|| missing("descr"))?,
        fortran_order: fortran_order.ok_or_else(|| missing("fortran_order"))?,
        shape: shape.ok_or_else(|| missing("shape"))?,
    })
}

fn set<'a, T>(slot: &mut Option<T>, parsed: (T, &'a str), key: &str) -> Result<&'a str, String> {
    if slot.replace(parsed.0).is_some() {
        return Err(format!("{key:?} occurs twice in the header"));
    }
    Ok(parsed.1)
}

fn expect<'a>(text: &'a str, token: &str) -> Result<&'a str, String> {
    text.strip_prefix(token)
        .map(str::trim_start)
        .ok_or_else(|| format!("expected {token:?} in the header"))
}

fn quoted(text: &str) -> Result<(&str, &str), String> {
    let wrong = || "expected a quoted word in the header".to_owned();
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"')).ok_or_else(wrong)?;
    let (word, rest) = text[1..].split_once(quote).ok_or_else(wrong)?;
    Ok((word, rest.trim_start()))
}

fn boolean(text: &str) -> Result<(bool, &str), String> {
    [("False", false), ("True", true)]
        .into_iter()
        .find_map(|(word, value)| Some((value, text.strip_prefix(word)?.trim_start())))
        .ok_or_else(|| "fortran_order is neither True nor False".to_owned())
}

fn tuple(text: &str) -> Result<(Vec<usize>, &str), String> {
    let inside = expect(text, "(")?;
    let (numbers, rest) =
        inside.split_once(')').ok_or_else(|| "the shape has no closing bracket".to_owned())?;
    let numbers = numbers.trim().strip_suffix(',').unwrap_or(numbers.trim());
    let shape = if numbers.is_empty() {
        Vec::new()
    } else {
        numbers
            .split(',')
            .map(|number| {
                // Python 2 wrote long integers with an L.
                let number = number.trim();
                let digits = number.strip_suffix('L').unwrap_or(number);
                digits.parse().map_err(|_| format!("{number:?} in the shape is not a size"))
            })
            .collect::<Result<_, _>>()?
    };
    Ok((shape, rest.trim_start()))
}
