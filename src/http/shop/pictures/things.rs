//! The things in the pictures. Each is a few shapes around (200, 336), the middle of the table's edge, and wears one of
//! four patterns. Adding a thing is a function and a line in the list of words.

use std::fmt::Write;

use super::{Colours, Dice};

/// Draws one thing.
pub(super) type Thing = fn(&Colours, &mut Dice) -> String;

const THINGS: [Thing; 8] = [cup, jar, bottle, pouch, plant, lamp, bowl, candle];

/// Words found in ids and categories and what is drawn for them; the first word found decides.
const WORDS: [(&[&str], &[Thing]); 17] = [
    (&["teapot", "kettle"], &[teapot]),
    (&["knife", "blade", "peeler", "board"], &[knife]),
    (&["pencil", "-pen", "ruler", "scissors", "brush"], &[pens]),
    (&["pan", "skillet", "wok"], &[pan]),
    (&["bowl", "plate", "dish"], &[bowl]),
    (&["jar", "tin", "canister", "pot", "dripper"], &[jar]),
    (&["mug", "cup", "tumbler"], &[cup]),
    (&["lantern", "lamp", "light"], &[lamp]),
    (&["bottle", "flask", "oil", "ink", "soap"], &[bottle]),
    (&["pack", "bag", "rucksack", "hammock"], &[backpack]),
    (&["towel", "apron", "beanie", "sock", "shirt", "scarf", "cloth", "textile", "blanket", "jacket"], &[cloths]),
    (&["book", "journal", "planner", "diary", "pad", "paper", "envelope", "stationery"], &[book]),
    (&["plant", "seed", "flower", "garden"], &[plant]),
    (&["coffee", "beans"], &[pouch, pouch, cup]),
    (&["tea"], &[pouch, jar, cup]),
    (&["kitchen", "food"], &[bowl, jar, cup]),
    (&["outdoor", "travel"], &[backpack, bottle, lamp]),
];

/// What to draw: the id knows better than the category, and without a known word the dice decide.
pub(super) fn find(product: &str, category: &str, dice: &mut Dice) -> Thing {
    let known = |text: &str| {
        let text = text.to_ascii_lowercase();
        WORDS.iter().find(|(words, _)| words.iter().any(|word| text.contains(word))).map(|(_, things)| *things)
    };
    dice.one_of(known(product).or_else(|| known(category)).unwrap_or(&THINGS))
}

/// A pattern inside the outline `shape`, which every thing wears.
fn dressed(shape: &str, colours: &Colours, dice: &mut Dice) -> String {
    let Colours { body, body_dark, body_light, accent, .. } = colours;
    let mut inside = String::new();
    match dice.roll(4) {
        0 => {
            let y = 205 + dice.roll(40);
            let _ = write!(inside, r#"<rect y="{y}" width="400" height="34" fill="{accent}"/>"#);
            let _ = write!(inside, r#"<rect y="{}" width="400" height="5" fill="{accent}"/>"#, y + 42);
        }
        1 => {
            let gap = 24 + dice.roll(16);
            for stripe in 0..(400 / gap) {
                let x = stripe * gap;
                let _ = write!(inside, r#"<rect x="{x}" width="7" height="400" fill="{body_light}" opacity=".7"/>"#);
            }
        }
        2 => {
            for dot in 0..60 {
                let (x, y) = (90 + dot % 8 * 32 + dot / 8 % 2 * 16, 110 + dot / 8 * 30);
                let _ = write!(inside, r#"<circle cx="{x}" cy="{y}" r="5" fill="{accent}" opacity=".85"/>"#);
            }
        }
        _ => {
            let y = 215 + dice.roll(30);
            let _ = write!(inside, r#"<path d="M0 {y}q50-34 100 0t100 0t100 0t100 0V400H0z" fill="{body_light}"/>"#);
        }
    }
    format!(
        r#"<clipPath id="c"><path d="{shape}"/></clipPath><g clip-path="url(#c)"><rect width="400" height="400"
 fill="{body}"/>{inside}<path d="M236 0H400V400H262Q292 260 236 0z" fill="{body_dark}" opacity=".55"/></g>"#
    )
}

fn cup(colours: &Colours, dice: &mut Dice) -> String {
    let shape = "M112 186H272L256 312Q253 336 228 336H156Q131 336 128 312z";
    let steam = &colours.glow;
    format!(
        r#"<path d="M266 212q52-6 48 36t-58 40" fill="none" stroke="{}" stroke-width="17"/>{}<ellipse cx="192" cy="187"
 rx="80" ry="14" fill="{}"/><path d="M166 158q-14-18 0-36t0-36M214 158q-14-18 0-36t0-36" fill="none" stroke="{steam}"
 stroke-width="8" stroke-linecap="round" opacity=".9"/>"#,
        colours.body_dark,
        dressed(shape, colours, dice),
        colours.shade
    )
}

fn jar(colours: &Colours, dice: &mut Dice) -> String {
    let shape = "M138 150H262Q284 158 284 184V312Q284 336 260 336H140Q116 336 116 312V184Q116 158 138 150z";
    format!(
        r#"{}<rect x="132" y="118" width="136" height="36" rx="9" fill="{}"/>
<rect x="132" y="142" width="136" height="12"
 fill="{}"/>"#,
        dressed(shape, colours, dice),
        colours.accent,
        colours.shade
    )
}

fn bottle(colours: &Colours, dice: &mut Dice) -> String {
    let shape = "M180 110H220V168Q262 186 262 232V314Q262 336 240 336H160Q138 336 138 314V232Q138 186 180 168z";
    format!(
        r#"{}<rect x="174" y="76" width="52" height="38" rx="7" fill="{}"/>"#,
        dressed(shape, colours, dice),
        colours.shade
    )
}

fn pouch(colours: &Colours, dice: &mut Dice) -> String {
    let shape = "M128 124H272L286 318Q287 336 268 336H132Q113 336 114 318z";
    let label = &colours.glow;
    format!(
        r#"{}<path d="M122 106H278V136H122z" fill="{}"/><circle cx="200" cy="236" r="46" fill="{label}"/><path
 d="M200 208q32 22 0 58q-32-36 0-58zM200 266v-36" fill="{}" stroke="{}" stroke-width="3"/>"#,
        dressed(shape, colours, dice),
        colours.body_dark,
        colours.leaf,
        colours.leaf_dark
    )
}

fn plant(colours: &Colours, dice: &mut Dice) -> String {
    let shape = "M134 232H266L250 320Q247 336 230 336H170Q153 336 150 320z";
    let mut leaves = String::new();
    let count = 5 + dice.roll(3);
    for leaf in 0..count {
        let turn = i64::try_from(leaf * 150 / (count - 1)).unwrap_or(0) - 75;
        let fill = if leaf % 2 == 0 { &colours.leaf } else { &colours.leaf_dark };
        let _ = write!(
            leaves,
            r#"<path transform="rotate({turn} 200 232)" d="M200 236Q158 170 200 {}Q242 170 200 236z" fill="{fill}"/>"#,
            80 + dice.roll(36)
        );
    }
    format!("{leaves}{}", dressed(shape, colours, dice))
}

fn lamp(colours: &Colours, dice: &mut Dice) -> String {
    let shape = "M158 92H242L288 206H112z";
    format!(
        r#"<path d="M112 206L64 296H336L288 206z" fill="{}" opacity=".55"/><rect x="192" y="200" width="16" height="122"
 fill="{}"/><rect x="146" y="318" width="108" height="18" rx="9" fill="{}"/>{}"#,
        colours.glow,
        colours.shade,
        colours.shade,
        dressed(shape, colours, dice)
    )
}

fn book(colours: &Colours, dice: &mut Dice) -> String {
    let lean = dice.roll(13);
    let shape = "M122 92H262Q272 92 272 102V336H122z";
    format!(
        r#"<g transform="rotate({lean} 200 336)"><rect x="132" y="102" width="154" height="234" rx="5"
 fill="{}"/>{}<rect
 x="122" y="92" width="20" height="244" fill="{}"/><rect x="166" y="126" width="82" height="42" rx="4" fill="{}"/>
</g>"#,
        colours.glow,
        dressed(shape, colours, dice),
        colours.body_dark,
        colours.glow
    )
}

fn bowl(colours: &Colours, dice: &mut Dice) -> String {
    let shape = "M84 216H316Q308 318 238 328V336H162V328Q92 318 84 216z";
    let mut fruit = String::new();
    for (x, y, r) in [(150, 204, 36), (246, 206, 34), (198, 186, 42)] {
        let fill = if dice.roll(2) == 0 { &colours.accent } else { &colours.leaf };
        let _ = write!(fruit, r#"<circle cx="{x}" cy="{y}" r="{r}" fill="{fill}"/>"#);
    }
    format!("{fruit}{}", dressed(shape, colours, dice))
}

fn candle(colours: &Colours, dice: &mut Dice) -> String {
    let top = 170 + dice.roll(40);
    let shape = format!("M146 {top}H254V336H146z");
    format!(
        r#"<circle cx="200" cy="{}" r="62" fill="{}" opacity=".8"/>{}<ellipse cx="200" cy="{top}" rx="54" ry="11"
 fill="{}"/><path d="M200 {top}v-20" stroke="{}" stroke-width="5"/><path d="M200 {}q24 30 0 48q-24-18 0-48z"
 fill="{}"/>"#,
        top - 46,
        colours.glow,
        dressed(&shape, colours, dice),
        colours.body_light,
        colours.shade,
        top - 66,
        colours.accent
    )
}

fn teapot(colours: &Colours, dice: &mut Dice) -> String {
    let shape = "M122 226Q122 162 200 162T278 226V270Q278 336 226 336H174Q122 336 122 270z";
    format!(
        r#"<path d="M270 262Q316 256 330 196L346 200Q336 300 266 306z" fill="{dark}"/>
<path d="M130 210Q66 196 70 250T138 300"
 fill="none" stroke="{dark}" stroke-width="16"/>{}<path d="M150 166Q154 138 200 138T250 166z" fill="{}"/>
<circle cx="200"
 cy="130" r="13" fill="{dark}"/>"#,
        dressed(shape, colours, dice),
        colours.body_light,
        dark = colours.body_dark
    )
}

fn knife(colours: &Colours, dice: &mut Dice) -> String {
    let lean = dice.roll(16);
    format!(
        r#"<g transform="rotate({} 200 240)"><rect x="62" y="252" width="276" height="84" rx="10" fill="{}"/>
<rect x="62"
 y="252" width="276" height="16" rx="8" fill="{}"/><path d="M86 196H252V240Q150 244 86 196z" fill="{}"/><path
 d="M86 196H252V208Q150 212 86 196z" fill="{}" opacity=".6"/><rect x="250" y="194" width="86" height="30" rx="9"
 fill="{}"/><circle cx="272" cy="209" r="4" fill="{}"/><circle cx="312" cy="209" r="4" fill="{}"/></g>"#,
        i64::try_from(lean).unwrap_or(0) - 8,
        colours.accent,
        colours.body_light,
        colours.glow,
        colours.table,
        colours.body,
        colours.glow,
        colours.glow
    )
}

fn pan(colours: &Colours, dice: &mut Dice) -> String {
    let shape = "M72 238H270L256 316Q252 336 232 336H110Q90 336 86 316z";
    format!(
        r#"<path d="M262 246L366 214Q378 212 378 224T368 238L262 272z" fill="{}"/>{}<ellipse cx="171" cy="238" rx="99"
 ry="15" fill="{}"/><ellipse cx="171" cy="240" rx="84" ry="10" fill="{}"/>"#,
        colours.shade,
        dressed(shape, colours, dice),
        colours.body_light,
        colours.body_dark
    )
}

fn backpack(colours: &Colours, dice: &mut Dice) -> String {
    let shape = "M126 196Q126 116 200 116T274 196V312Q274 336 250 336H150Q126 336 126 312z";
    format!(
        r#"<path d="M172 122V104Q172 84 200 84T228 104V122" fill="none" stroke="{}" stroke-width="11"/>{}<path d="M122
 176Q200 212 278 176V204Q200 240 122 204z" fill="{dark}"/><rect x="150" y="246" width="100" height="72" rx="12"
 fill="{}"/><path d="M150 270h100" stroke="{dark}" stroke-width="5"/><rect x="191" y="208" width="18" height="46" rx="4"
 fill="{}"/>"#,
        colours.shade,
        dressed(shape, colours, dice),
        colours.body_light,
        colours.accent,
        dark = colours.body_dark
    )
}

fn cloths(colours: &Colours, dice: &mut Dice) -> String {
    let mut pile = String::new();
    let rows = [&colours.body_dark, &colours.accent, &colours.body_light];
    let first = dice.roll(3);
    for row in 0..3 {
        let y = 298 - row * 38;
        let fill = rows[usize::try_from((row + first) % 3).unwrap_or(0)];
        let _ = write!(pile, r#"<rect x="{}" y="{y}" width="196" height="38" rx="17" fill="{fill}"/>"#, 98 + row * 4);
    }
    let shape = "M116 150Q116 136 130 136H280Q296 136 296 152V206Q296 222 280 222H130Q116 222 116 206z";
    format!("{pile}{}", dressed(shape, colours, dice))
}

fn pens(colours: &Colours, dice: &mut Dice) -> String {
    let mut sticks = String::new();
    let fills = [&colours.accent, &colours.leaf, &colours.body_light, &colours.shade];
    for (number, fill) in (0_i64..).zip(fills) {
        let (turn, x) = (number * 9 - 13, 164 + number * 24);
        let top = 84 + dice.roll(46);
        let _ = write!(
            sticks,
            r#"<path transform="rotate({turn} 200 336)" d="M{} 300V{top}l7-22l7 22V300z" fill="{fill}"/>"#,
            x - 7
        );
    }
    let shape = "M142 204H258L250 320Q249 336 234 336H166Q151 336 150 320z";
    format!("{sticks}{}", dressed(shape, colours, dice))
}
