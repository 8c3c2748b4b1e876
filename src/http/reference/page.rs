//! The reference page: one self-contained HTML file made from the OpenAPI document. No script, no font, no picture from
//! elsewhere, so it reads the same on a plane, on paper and in a terminal browser.

use std::fmt::Write;

use pulldown_cmark::{Parser, html};
use serde_json::Value;

const STYLE: &str = include_str!("style.css");
const METHODS: [&str; 4] = ["get", "put", "post", "delete"];
/// How deep the members of a schema are spelled out before it is only named.
const DEPTH_MAX: usize = 4;

/// The page of an OpenAPI document.
pub fn render(document: &Value) -> String {
    let page = Page { document };
    let title = escape(text(&document["info"]["title"]));
    let mut out = String::with_capacity(256 * 1024);
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>{title} API</title><style>{STYLE}</style></head><body>\
         <a class=\"skip\" href=\"#content\">Skip to content</a><div class=\"frame\">"
    );
    page.sidebar(&mut out);
    let _ = write!(out, "<main id=\"content\"><header><h1>{title} API</h1>");
    markdown(&mut out, text(&document["info"]["description"]));
    out.push_str("<p><a href=\"/openapi.json\">openapi.json</a> is this page for programs.</p></header>");
    for tag in array(&document["tags"]) {
        page.chapter(&mut out, tag);
    }
    problems(&mut out);
    out.push_str("</main></div></body></html>");
    out
}

struct Page<'a> {
    document: &'a Value,
}

/// One operation with its place.
struct Operation<'a> {
    method: &'a str,
    path: &'a str,
    value: &'a Value,
}

impl<'a> Page<'a> {
    fn operations(&self, tag: &str) -> Vec<Operation<'a>> {
        let paths = self.document["paths"].as_object().into_iter().flatten();
        let all = paths.flat_map(|(path, item)| {
            METHODS.iter().filter_map(move |method| {
                let value = item.get(*method)?;
                Some(Operation { method, path, value })
            })
        });
        all.filter(|operation| array(&operation.value["tags"]).any(|name| name == tag)).collect()
    }

    fn sidebar(&self, out: &mut String) {
        out.push_str("<nav aria-label=\"Contents\"><strong>Stockroom</strong>");
        for tag in array(&self.document["tags"]) {
            let name = text(&tag["name"]);
            let _ = write!(out, "<details open><summary>{}</summary><ul>", escape(name));
            for Operation { method, value, .. } in self.operations(name) {
                let (id, summary) = (escape(text(&value["operationId"])), escape(text(&value["summary"])));
                let _ = write!(out, "<li><a href=\"#{id}\"><i class=\"{method}\">{method}</i>{summary}</a></li>");
            }
            out.push_str("</ul></details>");
        }
        out.push_str("<p><a href=\"#problems\">Problems</a></p></nav>");
    }

    fn chapter(&self, out: &mut String, tag: &Value) {
        let name = text(&tag["name"]);
        let _ = write!(out, "<section><h2>{}</h2>", escape(name));
        markdown(out, text(&tag["description"]));
        for operation in self.operations(name) {
            self.operation(out, &operation);
        }
        out.push_str("</section>");
    }

    fn operation(&self, out: &mut String, operation: &Operation<'_>) {
        let Operation { method, path, value } = operation;
        let (id, summary) = (escape(text(&value["operationId"])), escape(text(&value["summary"])));
        let _ = write!(
            out,
            "<article id=\"{id}\"><h3><a href=\"#{id}\">{summary}</a></h3><p class=\"call\">\
             <i class=\"{method}\">{method}</i><code>{}</code>",
            escape(path).replace('/', "/<wbr>")
        );
        if !value["security"].is_null() {
            out.push_str("<span class=\"lock\">needs a key</span>");
        }
        out.push_str("</p>");
        markdown(out, text(&value["description"]));
        self.parameters(out, value);
        if let Some(content) = value["requestBody"]["content"].as_object() {
            let optional = if value["requestBody"]["required"] == true { "" } else { " <em>optional</em>" };
            let _ = write!(out, "<h4>Body{optional}</h4>");
            self.content(out, content.iter());
        }
        out.push_str("<h4>Answers</h4>");
        for (status, response) in value["responses"].as_object().into_iter().flatten() {
            self.response(out, status, response);
        }
        out.push_str("</article>");
    }

    fn parameters(&self, out: &mut String, operation: &Value) {
        let mut parameters = array(&operation["parameters"]).peekable();
        if parameters.peek().is_none() {
            return;
        }
        out.push_str("<h4>Inputs</h4><dl>");
        for parameter in parameters {
            let required = if parameter["required"] == true { " <b>required</b>" } else { "" };
            let _ = write!(
                out,
                "<dt><code>{}</code> <small>{} · {}</small>{required}</dt><dd>",
                escape(text(&parameter["name"])),
                escape(text(&parameter["in"])),
                self.kind(&parameter["schema"]),
            );
            markdown(out, text(&parameter["description"]));
            out.push_str("</dd>");
        }
        out.push_str("</dl>");
    }

    fn response(&self, out: &mut String, status: &str, response: &Value) {
        let is_good = status.starts_with(['2', '3']);
        let class = if is_good { "good" } else { "bad" };
        let open = if is_good { " open" } else { "" };
        let _ = write!(out, "<details class=\"{class}\"{open}><summary><b>{status}</b></summary>");
        markdown(out, text(&response["description"]));
        let headers = response["headers"].as_object().into_iter().flatten();
        let headers = headers.filter(|(name, _)| name.as_str() != "x-request-id");
        for (name, header) in headers {
            let _ = write!(out, "<p><code>{}</code> ", escape(name));
            out.push_str(&escape(text(&header["description"])));
            out.push_str("</p>");
        }
        if let Some(content) = response["content"].as_object().filter(|_| is_good) {
            self.content(out, content.iter());
        }
        out.push_str("</details>");
    }

    fn content<'b>(&self, out: &mut String, content: impl Iterator<Item = (&'b String, &'b Value)>) {
        for (media_type, media) in content {
            let _ = write!(out, "<p><small>{}</small></p>", escape(media_type));
            self.members(out, &media["schema"], 0);
        }
    }

    /// The members of an object schema, nested ones below them.
    fn members(&self, out: &mut String, schema: &Value, depth: usize) {
        let schema = self.resolved(schema);
        let schema = if schema["type"] == "array" { self.resolved(&schema["items"]) } else { schema };
        let Some(members) = schema["properties"].as_object().filter(|_| depth < DEPTH_MAX) else { return };
        out.push_str("<dl>");
        for (name, member) in members {
            let required = array(&schema["required"]).any(|required| required == name.as_str());
            let required = if required { "" } else { " <em>optional</em>" };
            let kind = self.kind(member);
            let _ = write!(out, "<dt><code>{}</code> <small>{kind}</small>{required}</dt><dd>", escape(name));
            let described = if member["description"].is_null() { self.resolved(member) } else { member };
            markdown(out, text(&described["description"]));
            self.members(out, self.present(member), depth + 1);
            out.push_str("</dd>");
        }
        out.push_str("</dl>");
    }

    /// What a value looks like, in a few words.
    fn kind(&self, schema: &Value) -> String {
        let schema = self.resolved(self.present(schema));
        let kind = match &schema["type"] {
            Value::String(kind) => kind.clone(),
            Value::Array(kinds) => kinds.iter().map(text).collect::<Vec<_>>().join(" or "),
            _ => "value".to_owned(),
        };
        let mut words = vec![if kind == "array" { format!("list of {}", self.kind(&schema["items"])) } else { kind }];
        words.extend(schema["format"].as_str().filter(|format| *format != "int64").map(str::to_owned));
        if let (Some(least), Some(most)) = (schema["minimum"].as_i64(), schema["maximum"].as_i64()) {
            words.push(format!("{least} to {most}"));
        }
        let choices: Vec<&str> = array(&schema["enum"]).map(text).collect();
        if !choices.is_empty() {
            words.push(choices.join(" | "));
        }
        words.extend(schema["pattern"].as_str().map(|pattern| format!("matches {pattern}")));
        escape(&words.join(", "))
    }

    /// Of "this or null", this.
    fn present<'b>(&self, schema: &'b Value) -> &'b Value {
        let mut choices = array(&schema["oneOf"]).filter(|choice| choice["type"] != "null");
        choices.next().unwrap_or(schema)
    }

    fn resolved<'b>(&self, schema: &'b Value) -> &'b Value
    where
        'a: 'b,
    {
        let name = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next());
        name.map_or(schema, |name| &self.document["components"]["schemas"][name])
    }
}

fn problems(out: &mut String) {
    out.push_str(
        "<section id=\"problems\"><h2>Problems</h2><p>Every failure is <code>application/problem+json</code> (RFC \
         9457). This is the whole list of codes.</p><table><thead><tr><th>Status</th><th>Code</th><th>Meaning</th>\
         <th>Retry unchanged</th></tr></thead><tbody>",
    );
    for code in super::super::error::Code::ALL {
        let retry = if code.retryable() { "yes" } else { "no" };
        let (status, word, title) = (code.status().as_u16(), code.as_str(), escape(code.title()));
        let _ = write!(
            out,
            "<tr id=\"problem-{word}\"><td>{status}</td><td><code>{word}</code></td><td>{title}</td><td>{retry}</td>\
             </tr>"
        );
    }
    out.push_str("</tbody></table></section>");
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn markdown(out: &mut String, source: &str) {
    html::push_html(out, Parser::new(source));
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_shows_every_operation_and_code() {
        let document = serde_json::to_value(crate::http::openapi()).unwrap();
        let page = render(&document);
        for foreign in ["http://", "https://", "<script", "@import", "url("] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        for (path, item) in document["paths"].as_object().unwrap() {
            for operation in METHODS.iter().filter_map(|method| item.get(*method)) {
                let id = operation["operationId"].as_str().unwrap();
                assert!(page.contains(&format!("<article id=\"{id}\">")), "{path}");
            }
        }
        for code in crate::http::error::Code::ALL {
            assert!(page.contains(&format!("id=\"problem-{}\"", code.as_str())));
        }
    }

    #[test]
    fn text_from_the_document_cannot_become_markup() {
        assert_eq!(escape("<b a=\"1\">&"), "&lt;b a=&quot;1&quot;&gt;&amp;");
    }
}
