//! A JSON scanner: checks the grammar, finds where values begin and end, and notes what `jsonb`
//! would refuse. It builds nothing, so that one pass over a message is enough.

/// The type of a JSON value, told by its first character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RawKind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl RawKind {
    /// The name that error messages use.
    pub fn name(self) -> &'static str {
        match self {
            RawKind::Null => "null",
            RawKind::Bool => "a boolean",
            RawKind::Number => "a number",
            RawKind::String => "a string",
            RawKind::Array => "an array",
            RawKind::Object => "an object",
        }
    }
}

/// The text of one JSON value, without space around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Raw<'a> {
    pub text: &'a str,
}

impl<'a> Raw<'a> {
    /// The type of the value.
    pub fn kind(self) -> RawKind {
        match self.text.as_bytes().first() {
            Some(b'"') => RawKind::String,
            Some(b'{') => RawKind::Object,
            Some(b'[') => RawKind::Array,
            Some(b't' | b'f') => RawKind::Bool,
            Some(b'n') | None => RawKind::Null,
            Some(_) => RawKind::Number,
        }
    }
}

/// Something that is JSON but that the database cannot store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    Nul,
    LoneSurrogate,
    TooDeep,
    NumberOutOfRange,
}

/// The text is not JSON: what was expected, and the byte where it was not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub at: usize,
    pub expected: &'static str,
}

/// Most digits of a `numeric` before the decimal point, less one: the largest decimal weight.
const MAX_DECIMAL_WEIGHT: i64 = 131_071;
/// Most digits of a `numeric` after the decimal point.
const MAX_FRACTION_DIGITS: i64 = 16_383;
/// Exponents at or beyond this are refused by `numeric` even when the number is zero.
const MAX_EXPONENT: i64 = i32::MAX as i64 / 2;

/// Walks over JSON text from front to back.
pub(crate) struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    pos: usize,
    max_depth: usize,
    /// The first problem met since it was last taken, and the byte where.
    problem: Option<(Problem, usize)>,
    /// For each open container of the value being skipped: is it an object? Kept here so that
    /// its memory is reused.
    open: Vec<bool>,
}

impl<'a> Scanner<'a> {
    /// Starts at the first byte. Values nested deeper than `max_depth` are noted as a problem.
    pub fn new(text: &'a str, max_depth: usize) -> Scanner<'a> {
        Scanner {
            text,
            bytes: text.as_bytes(),
            pos: 0,
            max_depth,
            problem: None,
            open: Vec::new(),
        }
    }

    /// The byte at which the scanner stands.
    pub fn position(&self) -> usize {
        self.pos
    }

    /// The next byte, without moving.
    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.pos).copied()
    }

    /// The text from a byte position to where the scanner stands.
    pub fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.pos).unwrap_or("")
    }

    /// The problem noted since the last call, and the byte where.
    pub fn take_problem(&mut self) -> Option<(Problem, usize)> {
        self.problem.take()
    }

    /// Moves over white space.
    pub fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.pos += 1;
        }
    }

    /// Moves over one given byte.
    pub fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), SyntaxError> {
        if self.peek() == Some(byte) {
            self.pos += 1;
            Ok(())
        } else {
            Err(self.error(expected))
        }
    }

    /// Whether only white space is left; moves over it.
    pub fn at_end(&mut self) -> bool {
        self.skip_space();
        self.pos >= self.bytes.len()
    }

    pub fn error(&self, expected: &'static str) -> SyntaxError {
        SyntaxError {
            at: self.pos,
            expected,
        }
    }

    fn note(&mut self, problem: Problem, at: usize) {
        self.problem.get_or_insert((problem, at));
    }

    /// Enters an object: true when it has members. Stands before the first key then.
    pub fn enter_object(&mut self) -> Result<bool, SyntaxError> {
        self.expect(b'{', "an object")?;
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.pos += 1;
            return Ok(false);
        }
        Ok(true)
    }

    /// Reads a key (its text between the quotes, escapes not decoded) up to the value.
    pub fn key(&mut self) -> Result<&'a str, SyntaxError> {
        self.skip_space();
        let start = self.pos + 1;
        self.string("a key in double quotes")?;
        let key = self.text.get(start..self.pos - 1).unwrap_or("");
        self.skip_space();
        self.expect(b':', "':' after the key")?;
        self.skip_space();
        Ok(key)
    }

    /// After a member: true when another follows, false when the object ended.
    pub fn next_member(&mut self) -> Result<bool, SyntaxError> {
        self.next(b'}', "',' or '}'")
    }

    /// Enters an array: true when it has elements. Stands before the first one then.
    pub fn enter_array(&mut self) -> Result<bool, SyntaxError> {
        self.expect(b'[', "an array")?;
        self.skip_space();
        if self.peek() == Some(b']') {
            self.pos += 1;
            return Ok(false);
        }
        Ok(true)
    }

    /// After an element: true when another follows, false when the array ended.
    pub fn next_element(&mut self) -> Result<bool, SyntaxError> {
        self.next(b']', "',' or ']'")
    }

    fn next(&mut self, end: u8, expected: &'static str) -> Result<bool, SyntaxError> {
        self.skip_space();
        match self.peek() {
            Some(b',') => {
                self.pos += 1;
                self.skip_space();
                Ok(true)
            }
            Some(byte) if byte == end => {
                self.pos += 1;
                Ok(false)
            }
            _ => Err(self.error(expected)),
        }
    }

    /// Moves over one value of any kind and returns its text. Not recursive: hostile nesting
    /// costs a byte a level, not stack.
    pub fn value(&mut self) -> Result<Raw<'a>, SyntaxError> {
        self.skip_space();
        let start = self.pos;
        self.open.clear();
        loop {
            // One scalar, or the opening of a container.
            match self.peek() {
                Some(b'"') => self.string("a string")?,
                Some(b'{') => {
                    if self.enter_object()? {
                        self.deepen(true);
                        self.key()?;
                        continue;
                    }
                    self.check_depth(self.open.len() + 1);
                }
                Some(b'[') => {
                    if self.enter_array()? {
                        self.deepen(false);
                        continue;
                    }
                    self.check_depth(self.open.len() + 1);
                }
                Some(b't') => self.word("true")?,
                Some(b'f') => self.word("false")?,
                Some(b'n') => self.word("null")?,
                Some(b'-' | b'0'..=b'9') => self.number()?,
                _ => return Err(self.error("a value")),
            }
            // A value has ended: close what ends with it.
            loop {
                match self.open.last() {
                    None => {
                        return Ok(Raw {
                            text: self.since(start),
                        })
                    }
                    Some(true) => {
                        if self.next_member()? {
                            self.key()?;
                            break;
                        }
                    }
                    Some(false) => {
                        if self.next_element()? {
                            break;
                        }
                    }
                }
                self.open.pop();
            }
        }
    }

    fn deepen(&mut self, object: bool) {
        self.open.push(object);
        self.check_depth(self.open.len());
    }

    fn check_depth(&mut self, depth: usize) {
        if depth > self.max_depth {
            self.note(Problem::TooDeep, self.pos);
        }
    }

    fn word(&mut self, word: &'static str) -> Result<(), SyntaxError> {
        let end = self.pos + word.len();
        if self.bytes.get(self.pos..end) == Some(word.as_bytes()) {
            self.pos = end;
            Ok(())
        } else {
            Err(self.error("true, false or null"))
        }
    }

    /// Moves over a string, quotes included.
    fn string(&mut self, expected: &'static str) -> Result<(), SyntaxError> {
        self.expect(b'"', expected)?;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.pos += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(0..=0x1f) => {
                    return Err(self.error("an escape in place of a control character"))
                }
                Some(_) => self.pos += 1,
                None => return Err(self.error("the end of the string")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), SyntaxError> {
        let start = self.pos;
        match self.bytes.get(start + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.pos += 2;
                Ok(())
            }
            Some(b'u') => {
                let unit = self.code_unit()?;
                match unit {
                    0 => self.note(Problem::Nul, start),
                    0xd800..=0xdbff => {
                        let low = if self.bytes.get(self.pos..self.pos + 2) == Some(b"\\u") {
                            self.code_unit()?
                        } else {
                            0
                        };
                        if !(0xdc00..=0xdfff).contains(&low) {
                            self.note(Problem::LoneSurrogate, start);
                            if low == 0 && self.pos > start + 6 {
                                self.note(Problem::Nul, start + 6);
                            }
                        }
                    }
                    0xdc00..=0xdfff => self.note(Problem::LoneSurrogate, start),
                    _ => {}
                }
                Ok(())
            }
            _ => Err(self.error("an escape of JSON")),
        }
    }

    /// Moves over `\uXXXX` and returns the code unit.
    fn code_unit(&mut self) -> Result<u32, SyntaxError> {
        let digits = self.bytes.get(self.pos + 2..self.pos + 6);
        let mut unit = 0;
        for byte in digits.unwrap_or(b"?") {
            match char::from(*byte).to_digit(16) {
                Some(digit) => unit = unit * 16 + digit,
                None => return Err(self.error("four hexadecimal digits after \\u")),
            }
        }
        self.pos += 6;
        Ok(unit)
    }

    fn digits(&mut self) -> usize {
        let start = self.pos;
        while let Some(b'0'..=b'9') = self.peek() {
            self.pos += 1;
        }
        self.pos - start
    }

    fn number(&mut self) -> Result<(), SyntaxError> {
        let start = self.pos;
        if self.peek() == Some(b'-') {
            self.pos += 1;
        }
        let whole_start = self.pos;
        let whole = self.digits();
        if whole == 0 || (whole > 1 && self.bytes.get(whole_start) == Some(&b'0')) {
            return Err(self.error("a number"));
        }
        let mut fraction = 0;
        if self.peek() == Some(b'.') {
            self.pos += 1;
            fraction = self.digits();
            if fraction == 0 {
                return Err(self.error("digits after the decimal point"));
            }
        }
        let mantissa_end = self.pos;
        let mut exponent = 0;
        if let Some(b'e' | b'E') = self.peek() {
            self.pos += 1;
            let mut negative = false;
            if let Some(sign @ (b'+' | b'-')) = self.peek() {
                negative = sign == b'-';
                self.pos += 1;
            }
            let exponent_start = self.pos;
            if self.digits() == 0 {
                return Err(self.error("digits of the exponent"));
            }
            for byte in self.since(exponent_start).bytes() {
                exponent = (exponent * 10 + i64::from(byte - b'0')).min(MAX_EXPONENT);
            }
            if negative {
                exponent = -exponent;
            }
        } else if whole < 1000 && fraction < 1000 {
            return Ok(());
        }
        let mantissa = self.text.get(whole_start..mantissa_end).unwrap_or("");
        if !fits_numeric(mantissa, whole as i64, fraction as i64, exponent) {
            self.note(Problem::NumberOutOfRange, start);
        }
        Ok(())
    }
}

/// Whether `numeric` can hold the number, by the rules of its input function.
fn fits_numeric(mantissa: &str, whole: i64, fraction: i64, exponent: i64) -> bool {
    if exponent.abs() >= MAX_EXPONENT || fraction - exponent > MAX_FRACTION_DIGITS {
        return false;
    }
    // The decimal weight is that of the first digit that is not zero.
    let zeros = mantissa
        .bytes()
        .filter(|byte| *byte != b'.')
        .position(|byte| byte != b'0');
    match zeros {
        None => true,
        Some(zeros) => whole - 1 - zeros as i64 + exponent <= MAX_DECIMAL_WEIGHT,
    }
}

#[cfg(test)]
pub(crate) mod tests;
