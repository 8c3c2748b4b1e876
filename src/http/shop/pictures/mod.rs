//! A picture for every product that has none: a small still life drawn from the product's id and category.
//!
//! The category decides the things and the family of colours, the id everything else, so one shelf looks like a shelf
//! and no two products look alike. The same input is the same bytes on every machine. Only numbers and words of this
//! file reach the drawing: nothing of the id or category is copied into it.

mod things;

use std::fmt::Write;

/// Draws the picture of a product: an SVG document, 400 by 400.
pub fn draw(product: &str, category: Option<&str>) -> String {
    let shelf = category.unwrap_or("").split('/').next().unwrap_or("").to_ascii_lowercase();
    let mut dice = Dice(hash(product.as_bytes()));
    let colours = Colours::of(hash(shelf.as_bytes()), &mut dice);
    let thing = things::find(product, category.unwrap_or(""), &mut dice);
    let mut svg = String::with_capacity(DRAWING_BYTES_USUAL);
    svg.push_str(r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 400 400" width="400" height="400">"#);
    let _ = write!(svg, r#"<rect width="400" height="400" fill="{}"/>"#, colours.wall);
    svg.push_str(&backdrop(&colours, &mut dice));
    let _ = write!(svg, r#"<rect y="296" width="400" height="104" fill="{}"/>"#, colours.table);
    svg.push_str(&companion(&colours, &mut dice));
    let _ = write!(svg, r#"<ellipse cx="200" cy="336" rx="112" ry="13" fill="{}" opacity=".35"/>"#, colours.shade);
    svg.push_str(&thing(&colours, &mut dice));
    svg.push_str("</svg>");
    svg
}

const DRAWING_BYTES_USUAL: usize = 2048;

/// FNV-1a, 64 bits, then mixed: neighbours such as `cup-1` and `cup-2` must not look alike.
fn hash(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, step))
}

/// The finisher of SplitMix64 (Steele, Lea, Flood 2014).
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Numbers that follow from the product's id.
struct Dice(u64);

impl Dice {
    /// One of `0..sides`.
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = mix(self.0.wrapping_add(0x9e37_79b9_7f4a_7c15));
        self.0 % sides
    }

    fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        let sides = u64::try_from(items.len()).unwrap_or(1).max(1);
        items[usize::try_from(self.roll(sides)).unwrap_or(0)]
    }
}

/// Sand, sage, mist, clay, straw, slate: walls that let things in front of them speak.
const WALL_HUES: [u64; 6] = [34, 140, 192, 12, 48, 214];
/// Terracotta, ochre, forest, teal, blue, indigo, plum.
const BODY_HUES: [u64; 7] = [8, 34, 150, 178, 204, 226, 330];
/// Amber, coral, butter, apricot.
const ACCENT_HUES: [u64; 4] = [40, 10, 50, 24];

/// What the picture is painted with.
struct Colours {
    wall: String,
    glow: String,
    table: String,
    shade: String,
    body: String,
    body_dark: String,
    body_light: String,
    accent: String,
    leaf: String,
    leaf_dark: String,
}

impl Colours {
    fn of(shelf: u64, dice: &mut Dice) -> Self {
        let hue = (Dice(shelf).one_of(&WALL_HUES) + dice.roll(24)) % 360;
        let body_hue = (dice.one_of(&BODY_HUES) + dice.roll(14)) % 360;
        let accent_hue = dice.one_of(&ACCENT_HUES);
        let leaf_hue = 100 + dice.roll(50);
        let paint = |hue: u64, saturation: u64, lightness: u64| format!("hsl({hue} {saturation}% {lightness}%)");
        Self {
            wall: paint(hue, 32, 85),
            glow: paint((hue + 10) % 360, 48, 92),
            table: paint((hue + 6) % 360, 22, 72),
            shade: paint(hue, 26, 26),
            body: paint(body_hue, 40, 53),
            body_dark: paint(body_hue, 42, 40),
            body_light: paint(body_hue, 46, 69),
            accent: paint(accent_hue, 66, 64),
            leaf: paint(leaf_hue, 32, 44),
            leaf_dark: paint(leaf_hue, 36, 31),
        }
    }
}

fn backdrop(colours: &Colours, dice: &mut Dice) -> String {
    let glow = &colours.glow;
    let across = 120 + dice.roll(160);
    match dice.roll(4) {
        0 => format!(r#"<circle cx="{across}" cy="150" r="104" fill="{glow}"/>"#),
        1 => format!(r#"<path d="M{} 296V150a100 100 0 0 1 200 0v146z" fill="{glow}"/>"#, across - 100),
        2 => {
            let hill = 190 + dice.roll(60);
            format!(r#"<path d="M0 {hill}Q110 {} 210 {hill}T400 {hill}V300H0z" fill="{glow}"/>"#, hill - 90)
        }
        _ => format!(
            r#"<g fill="{glow}"><rect x="{}" y="58" width="150" height="178" rx="6"/></g><path d="M{} 58v178M{} 147h150"
 stroke="{}" stroke-width="7"/>"#,
            across - 75,
            across,
            across - 75,
            colours.wall
        ),
    }
}

/// Something small beside the thing.
fn companion(colours: &Colours, dice: &mut Dice) -> String {
    let Colours { accent, leaf, leaf_dark, glow, .. } = colours;
    let x = if dice.roll(2) == 0 { 62 } else { 338 };
    match dice.roll(4) {
        0 => format!(
            r#"<circle cx="{x}" cy="306" r="25" fill="{accent}"/>
<path d="M{x} 283q5-14 19-15q-2 13-19 15z" fill="{leaf}"/>"#
        ),
        1 => format!(
            r#"<path d="M{x} 322q-34-40-8-92q34 46 8 92z" fill="{leaf}"/><path d="M{x} 322q30-30 44-26q-8 30-44 26z"
 fill="{leaf_dark}"/>"#
        ),
        2 => format!(
            r#"<rect x="{}" y="304" width="74" height="17" rx="3" fill="{accent}"/><rect x="{}" y="288" width="60"
 height="16" rx="3" fill="{glow}"/>"#,
            x - 37,
            x - 29
        ),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_same_product_is_always_the_same_picture() {
        assert_eq!(draw("green-tea", Some("tea/green")), draw("green-tea", Some("tea/green")));
        assert_eq!(hash(draw("green-tea", Some("tea/green")).as_bytes()), GOLDEN_HASH);
    }

    const GOLDEN_HASH: u64 = 5_663_174_335_768_284_847;

    #[test]
    fn a_thousand_products_of_one_shelf_have_nearly_as_many_pictures() {
        let pictures: BTreeSet<_> = (0..1000).map(|number| draw(&format!("tea-{number}"), Some("tea"))).collect();
        assert!(pictures.len() > 900, "{} pictures", pictures.len());
    }

    #[test]
    fn nothing_of_the_input_reaches_the_drawing() {
        let picture = draw("<script>alert(1)</script>", Some("\"/><image href='x'>"));
        assert!(!picture.contains("script") && !picture.contains("href"));
    }
}
