//! Paths into JSON: `$.properties["Order ID"]`, `products[0].name`.

use serde_json::Value;
use std::fmt;

/// A parsed path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path(Vec<Segment>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Segment {
    Key(String),
    Index(usize),
}

/// Why a text is not a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} at character {position} of the path")]
pub struct PathError {
    pub message: String,
    /// Position in characters, from 1.
    pub position: usize,
}

impl Path {
    /// Parses a path; a leading `$` or `$.` is optional. `$` alone is the whole value.
    pub fn parse(text: &str) -> Result<Path, PathError> {
        let characters: Vec<char> = text.chars().collect();
        let mut reader = Reader {
            characters: &characters,
            at: 0,
        };
        reader.path()
    }

    /// The value there, if any; a null is a value.
    pub fn get<'a>(&self, root: &'a Value) -> Option<&'a Value> {
        self.0
            .iter()
            .try_fold(root, |value, segment| match segment {
                Segment::Key(key) => value.as_object()?.get(key),
                Segment::Index(index) => value.as_array()?.get(*index),
            })
    }

    /// Writes a value there, making objects on the way. False when something on the way is not
    /// an object (or an index is past the end of an array), and then nothing changed.
    pub fn set(&self, root: &mut Value, new: Value) -> bool {
        let mut place = root;
        for segment in &self.0 {
            match segment {
                Segment::Key(key) => {
                    if place.is_null() {
                        *place = Value::Object(serde_json::Map::new());
                    }
                    match place.as_object_mut() {
                        Some(object) => {
                            place = object.entry(key.clone()).or_insert(Value::Null);
                        }
                        None => return false,
                    }
                }
                Segment::Index(index) => match place.as_array_mut() {
                    Some(array) => match array.get_mut(*index) {
                        Some(item) => place = item,
                        None => return false,
                    },
                    None => return false,
                },
            }
        }
        *place = new;
        true
    }

    /// Takes the value out: a key is removed from its object, an item from its array.
    pub fn remove(&self, root: &mut Value) -> Option<Value> {
        let (last, parents) = self.0.split_last()?;
        let mut place = root;
        for segment in parents {
            place = match segment {
                Segment::Key(key) => place.as_object_mut()?.get_mut(key)?,
                Segment::Index(index) => place.as_array_mut()?.get_mut(*index)?,
            };
        }
        match last {
            Segment::Key(key) => place.as_object_mut()?.remove(key),
            Segment::Index(index) => {
                let array = place.as_array_mut()?;
                (*index < array.len()).then(|| array.remove(*index))
            }
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "$")?;
        for segment in &self.0 {
            match segment {
                Segment::Key(key) if plain(key) => write!(f, ".{key}")?,
                Segment::Key(key) => write!(f, "[{}]", Value::String(key.clone()))?,
                Segment::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

fn plain(key: &str) -> bool {
    !key.is_empty() && key.chars().all(plain_character)
}

fn plain_character(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '$' | '@')
}

struct Reader<'a> {
    characters: &'a [char],
    at: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.characters.get(self.at).copied()
    }

    fn error<T>(&self, message: &str) -> Result<T, PathError> {
        Err(PathError {
            message: message.to_string(),
            position: self.at + 1,
        })
    }

    fn path(&mut self) -> Result<Path, PathError> {
        let mut segments = Vec::new();
        let rooted =
            self.peek() == Some('$') && matches!(self.characters.get(1), None | Some('.' | '['));
        if rooted {
            self.at = 1;
        } else {
            if self.characters.is_empty() {
                return self.error("a path is empty");
            }
            if self.peek() != Some('[') {
                segments.push(self.key()?);
            }
        }
        while let Some(c) = self.peek() {
            match c {
                '.' => {
                    self.at += 1;
                    segments.push(self.key()?);
                }
                '[' => {
                    self.at += 1;
                    segments.push(self.bracket()?);
                }
                _ => return self.error("expected \".\" or \"[\""),
            }
        }
        Ok(Path(segments))
    }

    fn key(&mut self) -> Result<Segment, PathError> {
        let mut key = String::new();
        while let Some(c) = self.peek().filter(|c| plain_character(*c)) {
            key.push(c);
            self.at += 1;
        }
        if key.is_empty() {
            return self.error("expected a key; a key with other characters is written [\"…\"]");
        }
        Ok(Segment::Key(key))
    }

    fn bracket(&mut self) -> Result<Segment, PathError> {
        let segment = match self.peek() {
            Some(quote @ ('"' | '\'')) => {
                self.at += 1;
                Segment::Key(self.quoted(quote)?)
            }
            _ => {
                let mut digits = String::new();
                while let Some(c) = self.peek().filter(char::is_ascii_digit) {
                    digits.push(c);
                    self.at += 1;
                }
                match digits.parse() {
                    Ok(index) => Segment::Index(index),
                    Err(_) => return self.error("expected an index or a quoted key"),
                }
            }
        };
        if self.peek() != Some(']') {
            return self.error("expected \"]\"");
        }
        self.at += 1;
        Ok(segment)
    }

    fn quoted(&mut self, quote: char) -> Result<String, PathError> {
        let mut key = String::new();
        loop {
            match self.peek() {
                None => return self.error("the quote is not closed"),
                Some('\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some(c @ ('\\' | '"' | '\'')) => key.push(c),
                        _ => return self.error("only \\\\, \\\" and \\' can follow a backslash"),
                    }
                }
                Some(c) if c == quote => {
                    self.at += 1;
                    return Ok(key);
                }
                Some(c) => key.push(c),
            }
            self.at += 1;
        }
    }
}

/// The value at a path of object keys, if it is there and not null.
pub fn keys<'a>(root: &'a Value, keys: &[&str]) -> Option<&'a Value> {
    keys.iter()
        .try_fold(root, |value, key| value.as_object()?.get(*key))
        .filter(|value| !value.is_null())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn get(path: &str, root: &Value) -> Option<Value> {
        Path::parse(path).unwrap().get(root).cloned()
    }

    #[test]
    fn reads() {
        let root = json!({"a": {"b c": [1, {"d": null}]}, "$set": 3});
        assert_eq!(get("$", &root), Some(root.clone()));
        assert_eq!(get("a[\"b c\"][0]", &root), Some(json!(1)));
        assert_eq!(get("$.a['b c'][1].d", &root), Some(json!(null)));
        assert_eq!(get("$set", &root), Some(json!(3)));
        assert_eq!(get("a.x.y", &root), None);
    }

    #[test]
    fn errors_have_positions() {
        for (text, position) in [
            ("", 1),
            ("a..b", 3),
            ("a b", 2),
            ("a[", 3),
            ("a['x", 5),
            ("a[1", 4),
        ] {
            assert_eq!(Path::parse(text).unwrap_err().position, position, "{text}");
        }
    }

    #[test]
    fn writes_and_removes() {
        let mut root = json!({"a": 1, "l": [1, 2]});
        assert!(Path::parse("b.c").unwrap().set(&mut root, json!(2)));
        assert!(!Path::parse("a.c").unwrap().set(&mut root, json!(2)));
        assert!(Path::parse("l[1]").unwrap().set(&mut root, json!(5)));
        assert_eq!(
            Path::parse("l[0]").unwrap().remove(&mut root),
            Some(json!(1))
        );
        assert_eq!(root, json!({"a": 1, "b": {"c": 2}, "l": [5]}));
    }

    #[test]
    fn prints_what_it_parses() {
        for text in ["$", "$.a.b", "$[\"a b\"][3].c", "$[\"\"]"] {
            let path = Path::parse(text).unwrap();
            assert_eq!(path.to_string(), text);
            assert_eq!(Path::parse(&path.to_string()).unwrap(), path);
        }
    }
}
