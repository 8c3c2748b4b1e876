//! How text becomes words, for documents and for queries alike: split at everything that is neither letter nor digit,
//! lower case, accents folded (`café` = `cafe`), and for the main fields English word forms reduced to their stem
//! (`kettles` = `kettle`). Stop words are dropped from queries only, unless nothing else is left.

use tantivy::tokenizer::{
    AsciiFoldingFilter, Language, LowerCaser, RemoveLongFilter, SimpleTokenizer, Stemmer, StopWordFilter, TextAnalyzer,
    TokenStream,
};

/// Longest word kept, in bytes; longer ones are noise such as encoded data.
const WORD_BYTES_MAX: usize = 40;
/// Most words of a query that are looked for; the rest is ignored.
const QUERY_WORDS_MAX: usize = 16;
/// Shortest last word that also matches as the beginning of a word: below, nearly everything matches.
const PREFIX_CHARS_MIN: usize = 2;

/// Words reduced to their stems.
pub fn stemming_analyzer() -> TextAnalyzer {
    TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(RemoveLongFilter::limit(WORD_BYTES_MAX))
        .filter(LowerCaser)
        .filter(AsciiFoldingFilter)
        .filter(Stemmer::new(Language::English))
        .build()
}

/// Words as written, folded.
pub fn word_analyzer() -> TextAnalyzer {
    TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(RemoveLongFilter::limit(WORD_BYTES_MAX))
        .filter(LowerCaser)
        .filter(AsciiFoldingFilter)
        .build()
}

/// What an analyzer makes of a text.
pub fn words(analyzer: &mut TextAnalyzer, text: &str) -> Vec<String> {
    let mut stream = analyzer.token_stream(text);
    let mut words = Vec::new();
    while let Some(token) = stream.next() {
        words.push(token.text.clone());
    }
    words
}

/// One word of a query; a document must match every one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryWord {
    /// Matches documents with a word of this stem.
    pub stem: String,
    /// Also matches documents with a word beginning like this: the word being typed.
    pub prefix: Option<String>,
}

/// The words of a query in order, at most [`QUERY_WORDS_MAX`]; empty when the text has none.
pub fn query_words(text: &str) -> Vec<QueryWord> {
    let (mut plain, mut stemming) = (word_analyzer(), stemming_analyzer());
    let all = words(&mut plain, text);
    let mut stop_words = TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(StopWordFilter::new(Language::English).expect("tantivy knows the English stop words"))
        .build();
    let is_content = |word: &&String| !words(&mut stop_words, word).is_empty();
    let ends_in_word = text.chars().next_back().is_some_and(char::is_alphanumeric);
    let content: Vec<String> = all.iter().filter(is_content).cloned().collect();
    let mut kept = if content.is_empty() { all.clone() } else { content };
    kept.truncate(QUERY_WORDS_MAX);
    let typed = all.last().filter(|word| ends_in_word && word.chars().count() >= PREFIX_CHARS_MIN);
    let last = kept.len().saturating_sub(1);
    let stem = |word: &String| words(&mut stemming, word).pop().unwrap_or_else(|| word.clone());
    let stems: Vec<String> = kept.iter().map(stem).collect();
    let with_prefix = |(index, (stem, word)): (usize, (String, &String))| QueryWord {
        stem,
        prefix: typed.filter(|typed| index == last && *typed == word).cloned(),
    };
    stems.into_iter().zip(&kept).enumerate().map(with_prefix).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stems(text: &str) -> Vec<String> {
        query_words(text).into_iter().map(|word| word.stem).collect()
    }

    #[test]
    fn word_forms_case_and_accents_fold_together() {
        assert_eq!(stems("Kettles, CAFÉ! "), ["kettl", "cafe"]);
        assert_eq!(words(&mut stemming_analyzer(), "kettle cafe"), ["kettl", "cafe"]);
    }

    #[test]
    fn only_the_word_being_typed_is_a_prefix() {
        let words = query_words("green tea kett");
        assert_eq!(words.iter().map(|word| word.prefix.as_deref()).collect::<Vec<_>>(), [None, None, Some("kett")]);
        assert_eq!(query_words("green ")[0].prefix, None);
    }

    #[test]
    fn stop_words_count_only_when_alone() {
        assert_eq!(stems("the tea for two"), ["tea", "two"]);
        assert_eq!(stems("the"), ["the"]);
    }

    #[test]
    fn a_text_without_words_asks_for_nothing() {
        assert!(query_words(" -- !? ").is_empty());
    }
}
