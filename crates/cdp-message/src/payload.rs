//! A payload: one message, an array, a batch, or one of those per line.

use crate::document::{members, merge, problem_error, push_member, syntax_error, wrong_type};
use crate::error::{ErrorCode, MessageError};
use crate::fields::{Field, RawFields};
use crate::limits::Limits;
use crate::message::{check_size, from_raw, time, Base, Message};
use crate::scan::{Problem, Raw, RawKind, Scanner, SyntaxError};
use cdp_value::Timestamp;

/// A message of a payload, or why it was refused.
pub type Item = Result<Message, BadItem>;

/// A message that was refused, with enough to take it again after a fix.
#[derive(Debug, Clone, PartialEq)]
pub struct BadItem {
    pub error: MessageError,
    /// The text of the message. In a batch it has the batch's `context`, `integrations` and
    /// `sentAt` added to it, so that it means the same when it is taken again by itself; give
    /// [`parse_payload`] the time at which it first arrived then.
    pub original: String,
}

/// Reads a payload: one message, an array of messages, `{"batch": [...]}`, or NDJSON, which is
/// one of those per line.
///
/// `batch_limits` says whether the limits on bytes and messages of a batch apply. A message that
/// is refused becomes an item of its own and never sinks the others. Text that is not JSON as a
/// whole is an error of the call; in NDJSON a line that is not JSON is an item that was refused.
pub fn parse_payload(
    text: &str,
    received_at: Timestamp,
    limits: &Limits,
    batch_limits: bool,
) -> Result<Vec<Item>, MessageError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if batch_limits && text.len() > limits.batch_bytes {
        return Err(MessageError::new(
            ErrorCode::BatchTooLarge,
            "batch",
            "",
            format!(
                "the payload has {} bytes, more than the limit of {}",
                text.len(),
                limits.batch_bytes
            ),
            "Send several smaller batches.",
        ));
    }
    let mut reader = PayloadReader {
        items: Vec::new(),
        received_at,
        limits,
        most: if batch_limits {
            limits.batch_messages
        } else {
            usize::MAX
        },
    };
    reader.payload(text)?;
    Ok(reader.items)
}

/// Why reading stopped.
enum Failure {
    /// The text is not JSON.
    Syntax(SyntaxError),
    /// The call is refused as a whole.
    Call(MessageError),
}

impl From<SyntaxError> for Failure {
    fn from(error: SyntaxError) -> Failure {
        Failure::Syntax(error)
    }
}

impl From<MessageError> for Failure {
    fn from(error: MessageError) -> Failure {
        Failure::Call(error)
    }
}

struct PayloadReader<'l> {
    items: Vec<Item>,
    received_at: Timestamp,
    limits: &'l Limits,
    /// Most messages that the payload may hold.
    most: usize,
}

impl PayloadReader<'_> {
    fn payload(&mut self, text: &str) -> Result<(), MessageError> {
        let mut scanner = self.scanner(text);
        if scanner.at_end() {
            return Err(MessageError::new(
                ErrorCode::InvalidJson,
                "",
                "",
                "the payload is empty",
                "Send one JSON object, an array of them, {\"batch\": [...]}, or one object per \
                 line.",
            ));
        }
        let failure = match self.value(&mut scanner) {
            Ok(()) if scanner.at_end() => return Ok(()),
            Ok(()) => scanner.error("the end of the payload").into(),
            Err(failure) => failure,
        };
        match failure {
            Failure::Call(error) if error.code == ErrorCode::TooManyMessages => Err(error),
            // Something on the first line was refused as a whole.
            Failure::Call(_) if self.is_ndjson(text, false) => self.lines(text),
            Failure::Call(error) => Err(error),
            Failure::Syntax(_) if self.is_ndjson(text, true) => self.lines(text),
            Failure::Syntax(error) => Err(syntax_error("", text, error)),
        }
    }

    fn scanner<'a>(&self, text: &'a str) -> Scanner<'a> {
        Scanner::new(text, self.limits.effective_nesting())
    }

    /// Whether text is meant as one value per line: there are several lines and the first is an
    /// object by itself; or, where lines may be damaged, another one is, and the first does not
    /// look like the beginning of one value that was written over several lines.
    fn is_ndjson(&self, text: &str, damaged: bool) -> bool {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let whole = |line: &str| {
            let mut scanner = self.scanner(line);
            line.starts_with('{') && scanner.value().is_ok() && scanner.at_end()
        };
        let Some(first) = lines.next() else {
            return false;
        };
        if whole(first) {
            return lines.next().is_some();
        }
        damaged
            && !first.starts_with('[')
            && !first.ends_with(['{', '[', ',', ':'])
            && lines.any(whole)
    }

    fn lines(&mut self, text: &str) -> Result<(), MessageError> {
        self.items.clear();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let mut scanner = self.scanner(line);
            let before = self.items.len();
            let error = match self.value(&mut scanner) {
                Ok(()) if scanner.at_end() => continue,
                Ok(()) => scanner.error("the end of the line"),
                Err(Failure::Syntax(error)) => error,
                Err(Failure::Call(error)) if error.code == ErrorCode::TooManyMessages => {
                    return Err(error);
                }
                // A batch on a line that is refused as a whole does not sink the other lines.
                Err(Failure::Call(error)) => {
                    self.items.truncate(before);
                    self.refuse(error, line.to_owned())?;
                    continue;
                }
            };
            self.items.truncate(before);
            self.refuse(syntax_error("", line, error), line.to_owned())?;
        }
        Ok(())
    }

    /// Reads one message, array of messages, or batch.
    fn value(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Failure> {
        match scanner.peek() {
            Some(b'[') => self.array(scanner, &Base::default()),
            Some(b'{') => self.object(scanner),
            _ => self.element(scanner, &Base::default()),
        }
    }

    fn array(&mut self, scanner: &mut Scanner<'_>, base: &Base<'_>) -> Result<(), Failure> {
        let mut more = scanner.enter_array()?;
        while more {
            self.element(scanner, base)?;
            more = scanner.next_element()?;
        }
        Ok(())
    }

    /// Reads a top-level object: a message or a batch.
    fn object(&mut self, scanner: &mut Scanner<'_>) -> Result<(), Failure> {
        let start = scanner.position();
        let fields = RawFields::read(scanner)?;
        let Some(batch) = fields.get(Field::Batch) else {
            let text = scanner.since(start);
            let problem = scanner.take_problem().map(|(p, at)| (p, at - start));
            return Ok(self.message(text, &fields, problem, &Base::default())?);
        };
        // Problems inside the batch belong to its messages and are met again below.
        scanner.take_problem();
        if batch.kind() != RawKind::Array {
            return Err(wrong_type(Field::Batch.name(), batch, "an array").into());
        }
        let base = self.base(&fields)?;
        self.array(&mut self.scanner(batch.text), &base)
    }

    /// What the batch says about all of its messages. An error there is one of the call.
    fn base<'a>(&self, fields: &RawFields<'a>) -> Result<Base<'a>, MessageError> {
        fields.check_conflict()?;
        Ok(Base {
            context: self.base_object(fields, Field::Context)?,
            integrations: self.base_object(fields, Field::Integrations)?,
            sent_at: time(fields, Field::SentAt)?,
            sent_at_raw: fields.get(Field::SentAt),
        })
    }

    fn base_object<'a>(
        &self,
        fields: &RawFields<'a>,
        field: Field,
    ) -> Result<Option<Raw<'a>>, MessageError> {
        let Some(raw) = fields.get(field) else {
            return Ok(None);
        };
        if raw.kind() != RawKind::Object {
            return Err(wrong_type(field.name(), raw, "an object"));
        }
        let mut scanner = self.scanner(raw.text);
        match scanner.value().ok().and(scanner.take_problem()) {
            None => Ok(Some(raw)),
            Some((problem, at)) => {
                let name = field.name();
                Err(problem_error(name, raw.text, problem, at, self.limits))
            }
        }
    }

    /// Reads one message. Anything but an object is one that is refused.
    fn element(&mut self, scanner: &mut Scanner<'_>, base: &Base<'_>) -> Result<(), Failure> {
        scanner.skip_space();
        let start = scanner.position();
        scanner.take_problem();
        if scanner.peek() != Some(b'{') {
            let raw = scanner.value()?;
            let error = MessageError {
                message: format!("a message must be an object, not {}", raw.kind().name()),
                ..wrong_type("", raw, "an object")
            };
            return Ok(self.refuse(error, raw.text.to_owned())?);
        }
        let fields = RawFields::read(scanner)?;
        let text = scanner.since(start);
        let problem = scanner.take_problem().map(|(p, at)| (p, at - start));
        Ok(self.message(text, &fields, problem, base)?)
    }

    fn message(
        &mut self,
        text: &str,
        fields: &RawFields<'_>,
        problem: Option<(Problem, usize)>,
        base: &Base<'_>,
    ) -> Result<(), MessageError> {
        let read = match problem {
            Some((problem, at)) => {
                let field = fields.name_at(text, at);
                Err(problem_error(field, text, problem, at, self.limits))
            }
            None => check_size(text.len(), self.limits)
                .and_then(|()| from_raw(fields, base, self.received_at, self.limits)),
        };
        match read {
            Ok(message) => self.push(Ok(message)),
            Err(error) => self.refuse(error, standalone(text, fields, base)),
        }
    }

    fn refuse(&mut self, error: MessageError, original: String) -> Result<(), MessageError> {
        self.push(Err(BadItem { error, original }))
    }

    fn push(&mut self, item: Item) -> Result<(), MessageError> {
        if self.items.len() >= self.most {
            return Err(MessageError::new(
                ErrorCode::TooManyMessages,
                Field::Batch.name(),
                "",
                format!("the payload holds more than {} messages", self.most),
                "Send several smaller batches.",
            ));
        }
        self.items.push(item);
        Ok(())
    }
}

/// The text of a message together with what its batch says about it.
fn standalone(text: &str, fields: &RawFields<'_>, base: &Base<'_>) -> String {
    if base.is_empty() {
        return text.to_owned();
    }
    let mut object = String::from("{");
    for (key, value) in members(Raw { text }) {
        let inherited = match Field::of_key(&key) {
            Some(Field::Context) => base.context.is_some(),
            Some(Field::Integrations) => base.integrations.is_some(),
            Some(Field::SentAt) => base.sent_at_raw.is_some(),
            _ => false,
        };
        if !inherited {
            push_member(&mut object, &key, value.text);
        }
    }
    for (field, key, given) in [
        (Field::Context, "context", base.context),
        (Field::Integrations, "integrations", base.integrations),
    ] {
        match (given, fields.get(field)) {
            (Some(given), None) => push_member(&mut object, key, given.text),
            (Some(given), Some(own)) if own.kind() == RawKind::Object => {
                push_member(&mut object, key, &merge(given.text, own.text));
            }
            (Some(_), Some(own)) => push_member(&mut object, key, own.text),
            (None, _) => {}
        }
    }
    if let Some(given) = base.sent_at_raw {
        let sent_at = fields.get(Field::SentAt).unwrap_or(given);
        push_member(&mut object, "sentAt", sent_at.text);
    }
    object.push('}');
    object
}
