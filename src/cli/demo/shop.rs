//! From words to products: every kind in every make becomes a product, its axis becomes its variants. The same words
//! give the same catalogue, to the cent and the unit, on every machine.

use std::collections::BTreeMap;

use super::words::DEPARTMENTS;

/// A part of the shop.
pub(super) struct Department {
    /// Shown as the top category.
    pub(super) name: &'static str,
    /// Starts every SKU.
    pub(super) code: &'static str,
    /// The attribute a kind's makes are values of.
    pub(super) make_attribute: &'static str,
    /// What it sells.
    pub(super) kinds: &'static [Kind],
}

/// A sort of thing that comes in several makes.
pub(super) struct Kind {
    /// What it is called.
    pub(super) name: &'static str,
    /// Second-level category.
    pub(super) category: &'static str,
    /// Country; empty where it does not matter.
    pub(super) origin: &'static str,
    /// Half a sentence about it.
    pub(super) story: &'static str,
    /// The makes it comes in; each is a product.
    pub(super) makes: &'static [&'static str],
    /// Price of the first variant in US cents, before the make's share.
    pub(super) price: u64,
    /// What its variants differ in.
    pub(super) axis: Axis,
}

/// What variants of a product differ in.
#[derive(Clone, Copy)]
pub(super) enum Axis {
    BladeLength,
    BodyLength,
    BottleVolume,
    ClothingSize,
    Colour,
    Finish,
    Glaze,
    Grind,
    InkColour,
    Lead,
    LeafWeight,
    Nib,
    PackVolume,
    PanWidth,
    PaperSize,
    RulerLength,
    SetSize,
    Size,
    SockSize,
    Steel,
    Volume,
}

/// One value of an axis: code in the SKU, words for people, price in percent of the first.
type Step = (&'static str, &'static str, u64);

impl Axis {
    /// The attribute's name and its values.
    fn steps(self) -> (&'static str, &'static [Step]) {
        match self {
            Self::BladeLength => ("length", &[("16", "16 cm", 100), ("20", "20 cm", 118), ("24", "24 cm", 140)]),
            Self::BodyLength => ("length", &[("R", "Regular", 100), ("L", "Long", 108), ("S", "Short", 95)]),
            Self::BottleVolume => ("volume", &[("05", "0.5 l", 100), ("07", "0.75 l", 115), ("10", "1 l", 130)]),
            Self::ClothingSize => ("size", &[("S", "S", 100), ("M", "M", 100), ("L", "L", 100), ("XL", "XL", 100)]),
            Self::Colour => (
                "colour",
                &[
                    ("FOR", "Forest", 100),
                    ("INK", "Ink Blue", 100),
                    ("SAN", "Sand", 100),
                    ("RUS", "Rust", 100),
                    ("CHA", "Charcoal", 100),
                    ("MUS", "Mustard", 100),
                ],
            ),
            Self::Finish => ("finish", &[("POL", "Polished", 100), ("BRU", "Brushed", 100), ("RAW", "Raw", 95)]),
            Self::Glaze => (
                "colour",
                &[
                    ("WHI", "Chalk White", 100),
                    ("CEL", "Celadon", 106),
                    ("MID", "Midnight", 106),
                    ("SPE", "Speckled", 110),
                    ("TER", "Terracotta", 100),
                ],
            ),
            Self::Grind => (
                "grind",
                &[
                    ("WB", "250 g, whole bean", 100),
                    ("FI", "250 g, ground for filter", 100),
                    ("ES", "250 g, ground for espresso", 100),
                    ("KG", "1 kg, whole bean", 360),
                ],
            ),
            Self::InkColour => (
                "colour",
                &[("BLB", "Blue-Black", 100), ("SEP", "Sepia", 100), ("MOS", "Moss", 100), ("WIN", "Wine Red", 100)],
            ),
            Self::Lead => ("lead", &[("05", "0.5 mm", 100), ("07", "0.7 mm", 100), ("20", "2 mm", 115)]),
            Self::LeafWeight => ("weight", &[("50", "50 g", 100), ("100", "100 g", 185), ("250", "250 g", 420)]),
            Self::Nib => {
                ("nib", &[("EF", "Extra Fine", 100), ("F", "Fine", 100), ("M", "Medium", 100), ("B", "Broad", 105)])
            }
            Self::PackVolume => ("volume", &[("5", "5 l", 100), ("13", "13 l", 130), ("35", "35 l", 185)]),
            Self::PanWidth => ("width", &[("20", "20 cm", 100), ("24", "24 cm", 125), ("28", "28 cm", 150)]),
            Self::PaperSize => ("size", &[("A6", "A6", 100), ("A5", "A5", 130), ("A4", "A4", 175)]),
            Self::RulerLength => ("length", &[("15", "15 cm", 100), ("20", "20 cm", 120), ("30", "30 cm", 150)]),
            Self::SetSize => ("set", &[("12", "12 pieces", 100), ("24", "24 pieces", 185), ("36", "36 pieces", 260)]),
            Self::Size => ("size", &[("S", "Small", 100), ("M", "Medium", 135), ("L", "Large", 180)]),
            Self::SockSize => {
                ("size", &[("36", "36–38", 100), ("39", "39–41", 100), ("42", "42–44", 100), ("45", "45–47", 100)])
            }
            Self::Steel => ("steel", &[("C", "Carbon", 100), ("S", "Stainless", 110), ("D", "Layered", 190)]),
            Self::Volume => ("volume", &[("06", "0.6 l", 100), ("10", "1 l", 128), ("18", "1.8 l", 165)]),
        }
    }

    /// How many of an axis' values one product comes in, at most; long lists are drawn from.
    const STEPS_MAX: usize = 4;
}

/// A product as the shop shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DemoProduct {
    /// A slug.
    pub(super) id: String,
    pub(super) title: String,
    pub(super) description: String,
    /// Paths, department first.
    pub(super) categories: Vec<String>,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) media: Vec<String>,
    pub(super) variants: Vec<DemoVariant>,
}

/// A variant and how many of it are on the shelf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DemoVariant {
    pub(super) sku: String,
    pub(super) title: String,
    pub(super) attributes: BTreeMap<String, String>,
    /// Minor units.
    pub(super) usd: u64,
    /// Minor units.
    pub(super) eur: u64,
    pub(super) units: u32,
}

/// Every product, always the same ones in the same order.
pub(super) fn catalogue() -> Vec<DemoProduct> {
    let mut products = Vec::new();
    for department in DEPARTMENTS {
        let mut number = 0;
        for kind in department.kinds {
            for make in kind.makes {
                number += 1;
                products.push(product(department, kind, make, number));
            }
        }
    }
    products
}

fn product(department: &Department, kind: &Kind, make: &str, number: u32) -> DemoProduct {
    // Tea and coffee are named place first ("Uji Sencha"), things material first ("Oak Chopping Board").
    let from_somewhere = !kind.origin.is_empty();
    let title = if from_somewhere { format!("{} {make}", kind.name) } else { format!("{make} {}", kind.name) };
    let id = slug(&format!("{} {title}", department.name));
    let mut attributes = BTreeMap::from([(department.make_attribute.to_owned(), make.to_owned())]);
    if from_somewhere {
        attributes.insert("origin".to_owned(), kind.origin.to_owned());
    }
    let description = describe(department, kind, make, &title);
    DemoProduct {
        categories: vec![format!("{}/{}", department.name, kind.category)],
        media: vec![format!("/media/{id}.svg")],
        variants: variants(department, kind, &id, number),
        id,
        title,
        description,
        attributes,
    }
}

fn describe(department: &Department, kind: &Kind, make: &str, title: &str) -> String {
    let ending = [
        "Small batches, restocked often.",
        "A favourite of our regulars.",
        "Made by people we have visited.",
        "Wrapped in paper, sent without plastic.",
        "If you are unsure, start here.",
    ][draw(title, "ending", 5)];
    match department.code {
        "TEA" => {
            format!("{title}: leaves from {}, {}. Sorted by hand and packed fresh. {ending}", kind.story, kind.origin)
        }
        "COF" => format!("{title}, {}: {}. Roasted every Tuesday, {make} lot. {ending}", kind.origin, kind.story),
        _ => format!("{} in {}: {}. {ending}", kind.name, make.to_lowercase(), kind.story),
    }
}

fn variants(department: &Department, kind: &Kind, id: &str, number: u32) -> Vec<DemoVariant> {
    let (attribute, steps) = kind.axis.steps();
    let base = kind.price + kind.price * draw(id, "price", 9) as u64 * 5 / 100;
    let first = if steps.len() > Axis::STEPS_MAX { draw(id, "first", steps.len()) } else { 0 };
    (0..steps.len().min(Axis::STEPS_MAX))
        .map(|offset| {
            let (code, title, percent) = steps[(first + offset) % steps.len()];
            let sku = format!("{}-{number:03}-{code}", department.code);
            let usd = to_shelf_price(base * percent / 100);
            DemoVariant {
                title: title.to_owned(),
                attributes: BTreeMap::from([(attribute.to_owned(), title.to_owned())]),
                usd,
                eur: to_shelf_price(usd * 93 / 100),
                units: units(&sku),
                sku,
            }
        })
        .collect()
}

/// One in forty is sold out, one in twelve nearly, the rest is well stocked.
fn units(sku: &str) -> u32 {
    let units = match draw(sku, "shelf", 120) {
        0..3 => 0,
        3..13 => 1 + draw(sku, "few", 5),
        _ => 12 + draw(sku, "many", 180),
    };
    u32::try_from(units).unwrap_or(u32::MAX)
}

/// Prices on shelves end in 90 or 50.
fn to_shelf_price(cents: u64) -> u64 {
    let hundreds = cents / 100 * 100;
    if cents - hundreds < 50 { hundreds + 50 } else { hundreds + 90 }
}

/// A number below `below` that depends on nothing but the two words.
fn draw(what: &str, about: &str, below: usize) -> usize {
    crc32c::crc32c_append(crc32c::crc32c(about.as_bytes()), what.as_bytes()) as usize % below
}

fn slug(title: &str) -> String {
    let mut slug = String::new();
    for letter in title.chars() {
        match letter {
            'a'..='z' | '0'..='9' => slug.push(letter),
            'A'..='Z' => slug.push(letter.to_ascii_lowercase()),
            'ú' => slug.push('u'),
            '\'' => {}
            _ if slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    slug
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::ids::{ProductId, Sku};

    #[test]
    fn the_shop_is_large_enough_to_look_like_one() {
        let catalogue = catalogue();
        let skus = catalogue.iter().map(|product| product.variants.len()).sum::<usize>();
        let categories: BTreeSet<_> = catalogue.iter().flat_map(|product| product.categories.clone()).collect();
        assert!(catalogue.len() >= 200, "{} products", catalogue.len());
        assert!(skus >= 600, "{skus} SKUs");
        assert!(categories.len() >= 15, "{categories:?}");
    }

    #[test]
    fn every_id_is_valid_and_belongs_to_one_thing() {
        let (mut ids, mut skus) = (BTreeSet::new(), BTreeSet::new());
        for product in catalogue() {
            assert!(ids.insert(product.id.parse::<ProductId>().unwrap()), "{} twice", product.id);
            for variant in product.variants {
                assert!(skus.insert(variant.sku.parse::<Sku>().unwrap()), "{} twice", variant.sku);
            }
        }
    }

    #[test]
    fn variants_differ_in_their_attribute_and_cost_something() {
        for product in catalogue() {
            let values: BTreeSet<_> = product.variants.iter().map(|variant| variant.attributes.clone()).collect();
            assert_eq!(values.len(), product.variants.len(), "{}", product.id);
            for variant in &product.variants {
                assert!(variant.usd > 500 && variant.eur > 450 && variant.eur < variant.usd, "{variant:?}");
            }
        }
    }

    #[test]
    fn some_things_are_sold_out_and_most_are_not() {
        let units: Vec<_> = catalogue().into_iter().flat_map(|p| p.variants).map(|variant| variant.units).collect();
        let sold_out = units.iter().filter(|units| **units == 0).count();
        assert!((5..60).contains(&sold_out), "{sold_out} of {}", units.len());
    }

    #[test]
    fn the_catalogue_is_the_same_everywhere() {
        let catalogue = catalogue();
        let first = &catalogue[0];
        assert_eq!((first.id.as_str(), first.title.as_str()), ("tea-darjeeling-first-flush", "Darjeeling First Flush"));
        let text = format!("{catalogue:?}");
        assert_eq!(
            crc32c::crc32c(text.as_bytes()),
            1_302_363_920,
            "changed words change the demo shop of everyone who upgrades"
        );
    }
}
