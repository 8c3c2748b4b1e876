//! What a route says about itself; `openapi` turns it into the document.
//!
//! Only what differs between routes is said here. What follows from a route's access, method and inputs (the failures
//! everybody can meet, the headers on every answer) is added when the document is made.

use axum::http::StatusCode;
use utoipa::openapi::path::ParameterIn;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{KnownFormat, RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

use super::error::Code;

/// A schema with its name, and those it refers to.
pub type Schemas = Vec<(String, RefOr<Schema>)>;

/// What a route says about itself.
#[derive(Default)]
pub struct Description {
    /// Which chapter of the reference.
    pub tag: &'static str,
    /// camelCase, unique: what generated clients call it.
    pub operation: &'static str,
    /// One line.
    pub summary: &'static str,
    /// The rest, in CommonMark.
    pub text: &'static str,
    /// Path, query and header inputs.
    pub parameters: Vec<Parameter>,
    /// What is sent.
    pub body: Option<BodyDescription>,
    /// What comes back when all is well.
    pub answers: Vec<AnswerDescription>,
    /// Failures particular to this route.
    pub failures: Vec<Code>,
    /// Schemas by name.
    pub schemas: Schemas,
}

/// One input outside the body.
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// Where it is.
    pub place: ParameterIn,
    /// What it means.
    pub text: &'static str,
    /// Whether the call needs it.
    pub required: bool,
    /// What it looks like.
    pub schema: RefOr<Schema>,
}

/// What is sent.
pub struct BodyDescription {
    /// Media types and what they hold.
    pub content: Vec<(&'static str, RefOr<Schema>)>,
    /// Whether the call needs it.
    pub required: bool,
}

/// One good answer.
pub struct AnswerDescription {
    /// Its status.
    pub status: StatusCode,
    /// When it comes.
    pub text: &'static str,
    /// Its media types and what they hold; none for no body.
    pub content: Vec<(&'static str, RefOr<Schema>)>,
    /// Headers beyond those on every answer: name, meaning, whether always there.
    pub headers: Vec<(&'static str, &'static str)>,
}

const JSON: &str = "application/json";

impl Description {
    /// Chapter, operation id and one line.
    #[must_use]
    pub fn called(mut self, tag: &'static str, operation: &'static str, summary: &'static str) -> Self {
        (self.tag, self.operation, self.summary) = (tag, operation, summary);
        self
    }

    /// What more there is to say.
    #[must_use]
    pub fn text(mut self, text: &'static str) -> Self {
        self.text = text;
        self
    }

    /// A path parameter.
    #[must_use]
    pub fn path<T: ToSchema>(self, name: &'static str, text: &'static str) -> Self {
        self.parameter::<T>(ParameterIn::Path, name, text, true)
    }

    /// An optional query parameter.
    #[must_use]
    pub fn query<T: ToSchema>(self, name: &'static str, text: &'static str) -> Self {
        self.parameter::<T>(ParameterIn::Query, name, text, false)
    }

    /// An optional header.
    #[must_use]
    pub fn header<T: ToSchema>(self, name: &'static str, text: &'static str) -> Self {
        self.parameter::<T>(ParameterIn::Header, name, text, false)
    }

    /// An optional input of any schema.
    #[must_use]
    pub fn input(mut self, place: ParameterIn, name: &'static str, text: &'static str, schema: Schema) -> Self {
        self.parameters.push(Parameter { name, place, text, required: false, schema: RefOr::T(schema) });
        self
    }

    fn parameter<T: ToSchema>(
        mut self,
        place: ParameterIn,
        name: &'static str,
        text: &'static str,
        required: bool,
    ) -> Self {
        let schema = self.refer::<T>();
        self.parameters.push(Parameter { name, place, text, required, schema });
        self
    }

    /// A JSON body the call needs.
    #[must_use]
    pub fn body<T: ToSchema>(mut self) -> Self {
        let schema = self.refer::<T>();
        self.body = Some(BodyDescription { content: vec![(JSON, schema)], required: true });
        self
    }

    /// A JSON body the call can do without.
    #[must_use]
    pub fn optional_body<T: ToSchema>(mut self) -> Self {
        let schema = self.refer::<T>();
        self.body = Some(BodyDescription { content: vec![(JSON, schema)], required: false });
        self
    }

    /// A body of another type, read as text.
    #[must_use]
    pub fn raw_body(mut self, media_types: &[&'static str]) -> Self {
        let content = media_types.iter().map(|media_type| (*media_type, text_schema())).collect();
        self.body = Some(BodyDescription { content, required: true });
        self
    }

    /// A JSON answer.
    #[must_use]
    pub fn answers<T: ToSchema>(mut self, status: StatusCode, text: &'static str) -> Self {
        let schema = self.refer::<T>();
        self.answers.push(AnswerDescription { status, text, content: vec![(JSON, schema)], headers: Vec::new() });
        self
    }

    /// One page of a list of `T` (`wire::Listing`).
    #[must_use]
    pub fn answers_list<T: ToSchema>(mut self, text: &'static str) -> Self {
        let item = self.refer::<T>();
        let cursor = ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
            .description(Some("Give it back as `cursor` for the next page; null on the last."));
        let page = ObjectBuilder::new()
            .description(Some("One page of a list."))
            .property("items", ArrayBuilder::new().items(item).description(Some("This page.")))
            .property("next_cursor", cursor)
            .required("items")
            .required("next_cursor");
        let name = format!("{}List", T::name());
        let schema = RefOr::Ref(utoipa::openapi::Ref::from_schema_name(&name));
        self.schemas.push((name, page.into()));
        let content = vec![(JSON, schema)];
        self.answers.push(AnswerDescription { status: StatusCode::OK, text, content, headers: Vec::new() });
        self
    }

    /// An answer of another type, or of one of several.
    #[must_use]
    pub fn answers_raw(mut self, status: StatusCode, media_types: &[&'static str], text: &'static str) -> Self {
        let content = media_types.iter().map(|media_type| (*media_type, text_schema())).collect();
        self.answers.push(AnswerDescription { status, text, content, headers: Vec::new() });
        self
    }

    /// A JSON object whose members are no business of this document.
    #[must_use]
    pub fn answers_object(mut self, status: StatusCode, text: &'static str) -> Self {
        let schema = ObjectBuilder::new().schema_type(Type::Object);
        let schema = schema.additional_properties(Some(AdditionalProperties::FreeForm(true)));
        self.answers.push(AnswerDescription {
            status,
            text,
            content: vec![(JSON, schema.into())],
            headers: Vec::new(),
        });
        self
    }

    /// A stream of server-sent events of one name; what is described is one event, `data` being JSON text.
    #[must_use]
    pub fn answers_events(mut self, name: &'static str, text: &'static str) -> Self {
        let data = ObjectBuilder::new().schema_type(Type::String).content_media_type(JSON);
        let event = ObjectBuilder::new()
            .property("event", ObjectBuilder::new().schema_type(Type::String).enum_values(Some([name])))
            .property("id", ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[0-9]+$")))
            .property("data", data);
        let schema = event.required("event").required("id").required("data").into();
        let content = vec![("text/event-stream", schema)];
        self.answers.push(AnswerDescription { status: StatusCode::OK, text, content, headers: Vec::new() });
        self
    }

    /// An answer without a body.
    #[must_use]
    pub fn answers_nothing(mut self, status: StatusCode, text: &'static str) -> Self {
        self.answers.push(AnswerDescription { status, text, content: Vec::new(), headers: Vec::new() });
        self
    }

    /// A header of the answer described last.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, text: &'static str) -> Self {
        let answer = self.answers.last_mut().expect("a header follows its answer");
        answer.headers.push((name, text));
        self
    }

    /// Failures particular to this route.
    #[must_use]
    pub fn fails(mut self, codes: &[Code]) -> Self {
        self.failures.extend_from_slice(codes);
        self
    }

    /// A reference to the named schema of `T`, remembering it and what it refers to.
    fn refer<T: ToSchema>(&mut self) -> RefOr<Schema> {
        T::schemas(&mut self.schemas);
        let name = T::name().into_owned();
        if is_inline(&name) {
            return T::schema();
        }
        self.schemas.push((name.clone(), T::schema()));
        RefOr::Ref(utoipa::openapi::Ref::from_schema_name(name))
    }
}

/// Rust's own types are spelled out where they are used.
fn is_inline(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_uppercase()) || matches!(name, "String" | "Vec" | "Option")
}

fn text_schema() -> RefOr<Schema> {
    String::schema()
}

/// A text that matches a pattern.
pub fn pattern(pattern: &str, example: &str) -> RefOr<Schema> {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern)).examples([example]).into()
}

/// A whole number between two bounds, inclusive.
pub fn whole_number(minimum: u64, maximum: u64) -> RefOr<Schema> {
    let number = ObjectBuilder::new().schema_type(Type::Integer);
    let number = number.format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)));
    number.minimum(Some(minimum)).maximum(Some(maximum)).into()
}
