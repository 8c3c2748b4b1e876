//! The OpenAPI 3.1 document, made from the route tables.
//!
//! What a route says about itself is completed with what holds everywhere: the request id, the problem document for
//! every code it can meet, who may call, what an Idempotency-Key does. The document is a golden file: a change to it is
//! a change to the contract.

use std::collections::BTreeMap;

use serde_json::json;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, OperationBuilder, ParameterBuilder, ParameterIn, PathItem, PathsBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required};

use super::describe::{AnswerDescription, Description, pattern};
use super::error::{Code, PROBLEM_JSON};
use super::idempotency::{KEY_CHARS_MAX, KEY_CHARS_MIN};
use super::route::{Access, KeyRule, Route};

const SECURITY: &str = "api_key";

const TAGS: [(&str, &str); 8] = [
    ("Catalogue", "Products and how to find them."),
    ("Stock", "What is left, and units set aside for a while."),
    ("Carts", "What a shopper wants to buy."),
    ("Orders", "From checkout to delivery."),
    ("Merchants: catalogue", "Keeping products."),
    ("Merchants: stock", "Counting units."),
    ("Merchants: orders", "Fulfilling and refunding."),
    ("Operation", "Health and insight; on the operators' listener, except this document and the payment webhooks."),
];

/// The document of these routes.
pub fn document(routes: &[Route]) -> OpenApi {
    let mut schemas: BTreeMap<String, RefOr<Schema>> = BTreeMap::new();
    let mut paths: BTreeMap<&str, PathItem> = BTreeMap::new();
    for route in routes {
        schemas.extend(route.description.schemas.iter().cloned());
        let operation = operation(route);
        let item = paths.remove(route.path).unwrap_or_default();
        paths.insert(route.path, with_operation(item, route, operation));
    }
    schemas.insert("Problem".to_owned(), problem_schema());
    let paths = paths.into_iter().fold(PathsBuilder::new(), |paths, (path, item)| paths.path(path, item));
    let components = schemas
        .into_iter()
        .fold(ComponentsBuilder::new(), |components, (name, schema)| components.schema(name, schema));
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A key made by `stockroom key create --role merchant|ops`."))
        .build();
    let tags = TAGS.map(|(name, text)| TagBuilder::new().name(name).description(Some(text)).build());
    OpenApiBuilder::new()
        .info(info())
        .paths(paths)
        .components(Some(components.security_scheme(SECURITY, SecurityScheme::Http(bearer)).build()))
        .tags(Some(tags))
        .build()
}

fn info() -> utoipa::openapi::Info {
    let license = LicenseBuilder::new().name("MIT OR Apache-2.0").identifier(Some("MIT OR Apache-2.0"));
    InfoBuilder::new()
        .title("Stockroom")
        .version("1")
        .description(Some(include_str!("manners.md")))
        .license(Some(license.build()))
        .build()
}

fn with_operation(mut item: PathItem, route: &Route, operation: Operation) -> PathItem {
    let place = match route.method.as_str() {
        "GET" => &mut item.get,
        "PUT" => &mut item.put,
        "POST" => &mut item.post,
        "DELETE" => &mut item.delete,
        other => unreachable!("the table has no {other} routes"),
    };
    *place = Some(operation);
    item
}

fn operation(route: &Route) -> Operation {
    let Description { tag, operation, summary, text, parameters, body, answers, .. } = &route.description;
    assert!(!operation.is_empty(), "{} is not described", route.name());
    let mut builder = OperationBuilder::new().tag(*tag).operation_id(Some(*operation)).summary(Some(*summary));
    if !text.is_empty() {
        builder = builder.description(Some(*text));
    }
    for parameter in parameters {
        let required = if parameter.required { Required::True } else { Required::False };
        let built = ParameterBuilder::new()
            .name(parameter.name)
            .parameter_in(parameter.place.clone())
            .required(required)
            .description(Some(parameter.text))
            .schema(Some(parameter.schema.clone()));
        builder = builder.parameter(built);
    }
    if let Some(parameter) = key_parameter(route.key) {
        builder = builder.parameter(parameter);
    }
    if let Some(body) = body {
        let required = if body.required { Required::True } else { Required::False };
        let content = body.content.iter().fold(RequestBodyBuilder::new(), |built, (media_type, schema)| {
            built.content(*media_type, ContentBuilder::new().schema(Some(schema.clone())).build())
        });
        builder = builder.request_body(Some(content.required(Some(required)).build()));
    }
    for answer in answers {
        builder = builder.response(answer.status.as_str(), good(answer, route.key));
    }
    for (status, codes) in failures(route) {
        builder = builder.response(status.to_string(), failure(&codes));
    }
    match route.access {
        Access::Merchant => builder.security(by_key()).build(),
        // From the machine itself no key is needed.
        Access::Ops => builder.security(SecurityRequirement::default()).security(by_key()).build(),
        Access::Public | Access::Probe => builder.build(),
    }
}

fn by_key() -> SecurityRequirement {
    SecurityRequirement::new(SECURITY, [] as [&str; 0])
}

fn key_parameter(rule: KeyRule) -> Option<ParameterBuilder> {
    let (required, text) = match rule {
        KeyRule::Ignored => return None,
        KeyRule::Optional => (Required::False, "Makes a retry harmless: the same key gets the first answer again."),
        KeyRule::Required => (Required::True, "Makes a retry harmless: the same key gets the first answer again."),
    };
    let schema = pattern(&format!("^[!-~]{{{KEY_CHARS_MIN},{KEY_CHARS_MAX}}}$"), "7f1c9b52a4e84a0c");
    let parameter = ParameterBuilder::new().name("Idempotency-Key").parameter_in(ParameterIn::Header);
    Some(parameter.required(required).description(Some(text)).schema(Some(schema)))
}

fn good(answer: &AnswerDescription, key: KeyRule) -> Response {
    let mut builder = ResponseBuilder::new().description(answer.text).header(
        "x-request-id",
        text_header(
            "Names this request in logs and problems; the client's own `x-request-id` when it sent a plain one.",
        ),
    );
    if key != KeyRule::Ignored {
        builder = builder.header("Idempotency-Replayed", text_header("`true` when this is the first answer again."));
    }
    for (name, text) in &answer.headers {
        builder = builder.header(*name, text_header(text));
    }
    for (media_type, schema) in &answer.content {
        builder = builder.content(*media_type, ContentBuilder::new().schema(Some(schema.clone())).build());
    }
    builder.build()
}

fn text_header(text: &str) -> utoipa::openapi::header::Header {
    let schema = ObjectBuilder::new().schema_type(SchemaType::new(Type::String)).build();
    HeaderBuilder::new().schema(schema).description(Some(text)).build()
}

/// Every code a route can answer, by status.
fn failures(route: &Route) -> BTreeMap<u16, Vec<Code>> {
    let mut codes = route.description.failures.clone();
    let is_write = route.method != axum::http::Method::GET;
    codes.push(Code::InternalError);
    if route.access != Access::Probe {
        codes.extend([Code::InvalidRequest, Code::Unauthenticated]);
    }
    match route.access {
        Access::Public => codes.extend([Code::RateLimited, Code::Overloaded, Code::OutcomeUnknown]),
        Access::Merchant => codes.extend([Code::RateLimited, Code::Overloaded, Code::OutcomeUnknown, Code::Forbidden]),
        Access::Ops => codes.extend([Code::Forbidden, Code::NoLeader, Code::OutcomeUnknown]),
        Access::Probe => {}
    }
    if matches!(route.access, Access::Public | Access::Merchant) {
        codes.extend([Code::NoLeader, Code::Quarantined]);
        if is_write {
            codes.push(Code::StorageFull);
        }
    }
    if is_write && route.key != KeyRule::Ignored {
        codes.extend([Code::IdempotencyKeyInvalid, Code::IdempotencyKeyReused, Code::QuotaExceeded]);
    }
    if route.key == KeyRule::Required {
        codes.push(Code::IdempotencyKeyRequired);
    }
    if is_write {
        codes.push(Code::TooLarge);
    }
    if route.description.body.is_some() {
        codes.push(Code::UnsupportedMediaType);
    }
    codes.sort_unstable();
    codes.dedup();
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes {
        by_status.entry(code.status().as_u16()).or_default().push(code);
    }
    by_status
}

fn failure(codes: &[Code]) -> Response {
    let texts: Vec<String> = codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.title())).collect();
    let words: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
    let code = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words));
    let schema = AllOfBuilder::new()
        .item(Ref::from_schema_name("Problem"))
        .item(ObjectBuilder::new().property("code", code).required("code"))
        .build();
    let mut builder = ResponseBuilder::new()
        .description(texts.join("  \n"))
        .header("x-request-id", text_header("Names this request in logs and in `instance`."))
        .content(PROBLEM_JSON, ContentBuilder::new().schema(Some(Schema::AllOf(schema))).build());
    let status = codes.first().map(|code| code.status().as_u16());
    if matches!(status, Some(429 | 503)) {
        builder = builder.header("Retry-After", text_header("Whole seconds until a retry makes sense."));
    }
    builder.build()
}

fn problem_schema() -> RefOr<Schema> {
    let text = |text: &str| ObjectBuilder::new().schema_type(Type::String).description(Some(text));
    let words = |words: Vec<&'static str>, text: &str| {
        ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).description(Some(text))
    };
    let codes = Code::ALL.iter().map(|code| code.as_str()).collect();
    ObjectBuilder::new()
        .description(Some("RFC 9457 problem. Facts (`sku`, `available`, `limit`, …) are further members."))
        .property("type", text("Where the code is explained."))
        .property("title", text("One sentence for people, the same for every problem of this code."))
        .property("status", ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(400)).maximum(Some(599)))
        .property("detail", text("What happened this time."))
        .property("instance", text("This occurrence: `urn:stockroom:request:` and the request id."))
        .property("code", words(codes, "What went wrong, from a closed list."))
        .property(
            "retryable",
            ObjectBuilder::new()
                .schema_type(Type::Boolean)
                .description(Some("Whether the same request may succeed later, unchanged.")),
        )
        .property(
            "outcome",
            words(vec!["rejected", "unknown"], "`rejected`: it did not happen. `unknown`: it may have."),
        )
        .required("type")
        .required("title")
        .required("status")
        .required("detail")
        .required("instance")
        .required("code")
        .required("retryable")
        .required("outcome")
        .additional_properties(Some(utoipa::openapi::schema::AdditionalProperties::FreeForm(true)))
        .examples([json!({
            "type": "/docs#problem-insufficient_stock", "title": "Fewer units are left than asked for.",
            "status": 409, "detail": "3 of TEA-100 requested, 1 available",
            "instance": "urn:stockroom:request:4f1c…", "code": "insufficient_stock", "retryable": false,
            "outcome": "rejected", "sku": "TEA-100", "requested": 3, "available": 1
        })])
        .into()
}
