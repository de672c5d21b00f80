//! Reading pickle arguments, each checked against the bytes that are left.

use super::Refusal;

pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    pub(super) fn take(&mut self, length: u64) -> Result<&'a [u8], Refusal> {
        let remaining = self.remaining();
        if length > remaining as u64 {
            return Err(Refusal::Broken(format!(
                "an argument of {length} bytes, but only {remaining} are left in the pickle"
            )));
        }
        let start = self.position;
        self.position += length as usize;
        Ok(&self.bytes[start..self.position])
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64)?);
        Ok(out)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Refusal> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16, Refusal> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, Refusal> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Refusal> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn i32(&mut self) -> Result<i32, Refusal> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    pub(super) fn text(&mut self, length: u64) -> Result<&'a str, Refusal> {
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map_err(|_| Refusal::from("a text is not UTF-8"))
    }

    /// Text up to a line feed, which is consumed.
    pub(super) fn line(&mut self) -> Result<&'a str, Refusal> {
        let rest = &self.bytes[self.position..];
        let length = rest
            .iter()
            .position(|&b| b == b'\n')
            .ok_or_else(|| Refusal::from("a line has no end"))?;
        let line = self.text(length as u64)?;
        self.position += 1;
        Ok(line)
    }
}
