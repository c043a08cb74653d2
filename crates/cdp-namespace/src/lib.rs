//! From the name of a campaign to the namespace it belongs to: each namespace has keywords, and the longest one
//! that stands in the name as words of its own decides.
//!
//! Capitals do not matter. A keyword stands as words of its own where neither a letter nor a digit touches it:
//! `ACME` is in "ACME Corp Q1" and "q1_acme", not in "pharmacmeeting". White space is one blank, however much
//! there is. Of keywords of the same length, the one that comes first in the name decides.

/// Keywords of all namespaces, ready to be looked for.
#[derive(Debug, Default)]
pub struct Router {
    /// The longest first.
    keywords: Vec<Keyword>,
}

#[derive(Debug)]
struct Keyword {
    text: String,
    /// In characters.
    length: usize,
    namespace: String,
}

/// Why keywords cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub enum KeywordError {
    /// It has neither a letter nor a digit.
    Blank { namespace: String, keyword: String },
    /// Two namespaces have it: neither could win.
    Tie {
        keyword: String,
        first: String,
        second: String,
    },
}

impl Router {
    /// Takes the keywords of each namespace. A namespace may repeat a keyword in other capitals.
    pub fn new<'a>(
        namespaces: impl IntoIterator<Item = (&'a str, Vec<&'a str>)>,
    ) -> Result<Router, KeywordError> {
        let mut keywords: Vec<Keyword> = Vec::new();
        for (namespace, given) in namespaces {
            for keyword in given {
                let text = folded(keyword);
                if !text.chars().any(char::is_alphanumeric) {
                    return Err(KeywordError::Blank {
                        namespace: namespace.to_string(),
                        keyword: keyword.to_string(),
                    });
                }
                let length = text.chars().count();
                keywords.push(Keyword {
                    text,
                    length,
                    namespace: namespace.to_string(),
                });
            }
        }
        keywords.sort_by(|a, b| {
            b.length
                .cmp(&a.length)
                .then_with(|| a.text.cmp(&b.text))
                .then_with(|| a.namespace.cmp(&b.namespace))
        });
        keywords.dedup_by(|a, b| a.text == b.text && a.namespace == b.namespace);
        for pair in keywords.windows(2) {
            if let [first, second] = pair {
                if first.text == second.text {
                    return Err(KeywordError::Tie {
                        keyword: second.text.clone(),
                        first: first.namespace.clone(),
                        second: second.namespace.clone(),
                    });
                }
            }
        }
        Ok(Router { keywords })
    }

    /// The namespace that a campaign of this name belongs to; None when no keyword is in it.
    pub fn route(&self, campaign: &str) -> Option<&str> {
        let name = folded(campaign);
        let mut best: Option<(usize, &Keyword)> = None;
        for keyword in &self.keywords {
            if best.is_some_and(|(_, found)| found.length > keyword.length) {
                break;
            }
            if let Some(place) = place_of(&keyword.text, &name) {
                if best.is_none_or(|(earliest, _)| place < earliest) {
                    best = Some((place, keyword));
                }
            }
        }
        best.map(|(_, keyword)| keyword.namespace.as_str())
    }
}

/// Lower case, with one blank for each run of white space and none at the ends.
fn folded(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .to_lowercase()
}

/// Where a keyword stands in a name as words of its own.
fn place_of(keyword: &str, name: &str) -> Option<usize> {
    let touches = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    name.match_indices_overlapping(keyword).find(|place| {
        let before = name.get(..*place).and_then(|part| part.chars().next_back());
        let after = name
            .get(place + keyword.len()..)
            .and_then(|part| part.chars().next());
        !touches(before) && !touches(after)
    })
}

trait Overlapping {
    /// Places of a text, also those that overlap one before.
    fn match_indices_overlapping<'a>(&'a self, wanted: &'a str)
        -> impl Iterator<Item = usize> + 'a;
}

impl Overlapping for str {
    fn match_indices_overlapping<'a>(
        &'a self,
        wanted: &'a str,
    ) -> impl Iterator<Item = usize> + 'a {
        self.char_indices()
            .map(|(place, _)| place)
            .filter(move |place| {
                self.get(*place..)
                    .is_some_and(|rest| rest.starts_with(wanted))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn router() -> Router {
        Router::new([
            ("acme-corp", vec!["ACME", "ACME Corp", "acme-corp"]),
            (
                "tech-startup",
                vec!["TechStartup", "Tech Startup Inc", "TSI"],
            ),
            ("acme-labs", vec!["ACME Corp Labs"]),
        ])
        .unwrap()
    }

    #[test]
    fn the_examples_of_the_predecessor() {
        let router = router();
        for (campaign, namespace) in [
            ("ACME Corp Q1 Campaign", Some("acme-corp")),
            ("acme q1", Some("acme-corp")),
            ("Q1_ACME_outreach", Some("acme-corp")),
            ("q1/acme-corp", Some("acme-corp")),
            ("pharmacmeeting", None),
            ("acmes", None),
            ("4acme", None),
            ("ACME   corp \t labs", Some("acme-labs")),
            ("tsi and ACME", Some("acme-corp")),
            ("Tech Startup Inc and ACME Corp", Some("tech-startup")),
            ("TSI", Some("tech-startup")),
            ("", None),
        ] {
            assert_eq!(router.route(campaign), namespace, "{campaign}");
        }
    }

    #[test]
    fn the_first_of_two_of_the_same_length_decides() {
        let router = Router::new([("a", vec!["one"]), ("b", vec!["two"])]).unwrap();
        assert_eq!(router.route("two one"), Some("b"));
        assert_eq!(router.route("one two"), Some("a"));
    }

    #[test]
    fn a_keyword_that_overlaps_itself_is_found() {
        let router = Router::new([("a", vec!["a-a"])]).unwrap();
        assert_eq!(router.route("xa-a-a"), Some("a"));
        assert_eq!(router.route("xa-ax"), None);
    }

    #[test]
    fn ties_and_blank_keywords_are_refused() {
        let tie = Router::new([("a", vec!["Acme"]), ("b", vec!["x", "ACME"])]).unwrap_err();
        assert_eq!(
            tie,
            KeywordError::Tie {
                keyword: "acme".into(),
                first: "a".into(),
                second: "b".into()
            }
        );
        assert!(Router::new([("a", vec!["Acme", "ACME"])]).is_ok());
        assert!(matches!(
            Router::new([("a", vec![" - "])]),
            Err(KeywordError::Blank { .. })
        ));
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: proptest::test_runner::RngSeed::Fixed(20), ..ProptestConfig::default() })]

        /// Against the rule as it is written, tried at every place.
        #[test]
        fn routes_as_the_rule_says(
            keywords in proptest::collection::btree_set("[ab]{1,3}( [ab]{1,2})?", 1..6),
            campaign in "[abAB \\-]{0,12}",
        ) {
            let list: Vec<&str> = keywords.iter().map(String::as_str).collect();
            let router = Router::new(list.iter().map(|keyword| (*keyword, vec![*keyword]))).unwrap();
            let words: Vec<char> = campaign.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase().chars().collect();
            let mut best: Option<(usize, std::cmp::Reverse<usize>, &str)> = None;
            for keyword in &list {
                let letters: Vec<char> = keyword.chars().collect();
                for start in 0..words.len() {
                    let end = start + letters.len();
                    let fits = words.get(start..end) == Some(letters.as_slice())
                        && (start == 0 || !words[start - 1].is_alphanumeric())
                        && words.get(end).is_none_or(|c| !c.is_alphanumeric());
                    if fits {
                        best = best.max(Some((letters.len(), std::cmp::Reverse(start), *keyword)));
                    }
                }
            }
            prop_assert_eq!(router.route(&campaign), best.map(|(_, _, keyword)| keyword));
        }
    }
}
