//! `docs/performance.svg`: a line for each figure, on it a point for each filesystem, on a logarithmic axis of times as long.
//!
//! It brings its own background and colours, of which there are two sets: browsers choose by what the reader prefers.

use super::rows::Row;
use super::words::{says, times};
use plotters::coord::Shift;
use plotters::coord::combinators::{IntoLogRange, LogCoord};
use plotters::coord::ranged1d::Ranged;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::ops::Range;

const WIDTH: i32 = 960;
const TOP: i32 = 96;
const LINE: i32 = 24;
/// Between parts, with a heading in it.
const PART: i32 = 44;
const BOTTOM: i32 = 28;
/// Where the axis begins and ends; names stand left of it, numbers right.
const AXIS: (i32, i32) = (290, 790);
/// Where the numbers end: of one mode, and of mixed use.
const NUMBERS: [i32; 2] = [860, 930];
/// What lies beyond is an arrow at the end of the axis; its number is there.
const LIMITS: Range<f64> = 0.75..3.0;
const FONT: &str = "system-ui, sans-serif";

/// A colour by what it is for: on light ground, and on dark.
type Ink = (RGBColor, RGBColor);
const GROUND: Ink = (RGBColor(255, 255, 254), RGBColor(13, 17, 23));
const TEXT: Ink = (RGBColor(31, 35, 40), RGBColor(230, 237, 243));
const FAINT: Ink = (RGBColor(89, 99, 110), RGBColor(145, 152, 161));
const GRID: Ink = (RGBColor(209, 217, 224), RGBColor(48, 54, 61));
const STRIPE: Ink = (RGBColor(246, 248, 250), RGBColor(21, 27, 35));
const ONE_MODE: Ink = (RGBColor(9, 105, 218), RGBColor(68, 147, 248));
const MIXED: Ink = (RGBColor(191, 72, 0), RGBColor(247, 140, 64));
const INKS: [Ink; 7] = [GROUND, TEXT, FAINT, GRID, STRIPE, ONE_MODE, MIXED];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), String>;

/// A line of the picture.
struct Line<'a> {
    name: String,
    rows: Vec<&'a Row<'a>>,
}

const PARTS: [(&str, &str); 3] = [
    ("io", "Calls on files"),
    ("aio", "Linux AIO"),
    ("programs", "Whole programs"),
];

/// The figures of one part, in their order.
fn lines<'a>(what: &str, rows: &'a [Row<'a>]) -> Vec<Line<'a>> {
    let mut lines: Vec<(&str, Line)> = Vec::new();
    for row in rows.iter().filter(|row| row.what == what) {
        let at = lines.iter().position(|(name, _)| *name == row.name);
        let at = at.unwrap_or_else(|| {
            let name = says(row.name).replace('`', "");
            lines.push((
                row.name,
                Line {
                    name,
                    rows: Vec::new(),
                },
            ));
            lines.len() - 1
        });
        lines[at].1.rows.push(row);
    }
    lines.into_iter().map(|(_, line)| line).collect()
}

pub fn draw(rows: &[Row]) -> Result<String, String> {
    let parts = PARTS.map(|(what, title)| (title, lines(what, rows)));
    let parts: Vec<_> = parts
        .into_iter()
        .filter(|(_, lines)| !lines.is_empty())
        .collect();
    let height: i32 = parts
        .iter()
        .map(|(_, lines)| PART + LINE * lines.len() as i32)
        .sum();
    let height = TOP + height.max(LINE) + BOTTOM;
    let mut text = String::new();
    let backend = SVGBackend::with_string(&mut text, (WIDTH as u32, height as u32));
    let area = backend.into_drawing_area();
    let axis = Axis::of(rows);
    head(&area, height)?;
    let mut y = TOP;
    for (title, lines) in &parts {
        y += PART;
        write(&area, title, (24, y - 14), (16, true, TEXT), HPos::Left)?;
        axis.draw(&area, y, y + LINE * lines.len() as i32)?;
        for line in lines {
            axis.line(&area, line, y)?;
            y += LINE;
        }
    }
    if parts.is_empty() {
        write(
            &area,
            "Nothing has been measured yet.",
            (24, TOP + 12),
            (15, false, FAINT),
            HPos::Left,
        )?;
    }
    area.present().map_err(|e| e.to_string())?;
    drop(area);
    Ok(in_both_sets(&text))
}

/// The dark set stands in a style sheet, by the light colours.
fn in_both_sets(svg: &str) -> String {
    let hex = |c: RGBColor| format!("#{:02X}{:02X}{:02X}", c.0, c.1, c.2);
    let rule = |(light, dark): Ink| {
        let (light, dark) = (hex(light), hex(dark));
        format!("[fill=\"{light}\"]{{fill:{dark}}}[stroke=\"{light}\"]{{stroke:{dark}}}\n")
    };
    let rules: String = INKS.into_iter().map(rule).collect();
    let style = format!("<style>\n@media (prefers-color-scheme: dark) {{\n{rules}}}\n</style>\n");
    svg.replacen(">\n", &format!(">\n{style}"), 1)
}

fn head(area: &Area, height: i32) -> Drawn {
    rectangle(area, (0, 0), (WIDTH, height), GROUND)?;
    let title = "What Pagefence costs: times as long as bare";
    write(area, title, (24, 30), (22, true, TEXT), HPos::Left)?;
    let y = 66;
    let about = "A point for each filesystem, the line behind it from the lowest to the highest round, a bar where the target is; bold: missed.";
    write(area, about, (24, y - 8), (13, false, FAINT), HPos::Left)?;
    for (mixed, right) in [(false, NUMBERS[0]), (true, NUMBERS[1])] {
        let name = super::words::use_of(mixed);
        write(
            area,
            name,
            (right, TOP + 8),
            (13, true, ink(mixed)),
            HPos::Right,
        )?;
        dot(
            area,
            (AXIS.0 + 6 + 100 * i32::from(mixed), TOP + 8),
            ink(mixed),
        )?;
        write(
            area,
            name,
            (AXIS.0 + 18 + 100 * i32::from(mixed), TOP + 8),
            (13, true, ink(mixed)),
            HPos::Left,
        )?;
    }
    write(
        area,
        "the highest of",
        (NUMBERS[1], TOP - 9),
        (13, false, FAINT),
        HPos::Right,
    )
}

fn ink(mixed: bool) -> Ink {
    if mixed { MIXED } else { ONE_MODE }
}

struct Axis {
    places: LogCoord<f64>,
    shown: Range<f64>,
}

impl Axis {
    /// All medians and targets have room, as far as the limits allow.
    fn of(rows: &[Row]) -> Axis {
        let medians = || rows.iter().map(|row| row.summary.ratio.median);
        let targets = rows.iter().filter_map(|row| row.target);
        let low = medians().fold(0.9, f64::min) / 1.05;
        let high = medians().chain(targets).fold(1.5, f64::max) * 1.05;
        let shown = low.max(LIMITS.start)..high.min(LIMITS.end);
        Axis {
            places: shown.clone().log_scale().into(),
            shown,
        }
    }

    fn x(&self, ratio: f64) -> i32 {
        let inside = ratio.clamp(self.shown.start, self.shown.end);
        self.places.map(&inside, AXIS)
    }

    /// Upright lines behind a part, and what they stand for.
    fn draw(&self, area: &Area, from: i32, to: i32) -> Drawn {
        const AT: [f64; 9] = [0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 2.5, 3.0];
        for (n, y) in (from..to).step_by(LINE as usize).enumerate() {
            if n % 2 == 0 {
                rectangle(area, (12, y), (WIDTH - 12, y + LINE), STRIPE)?;
            }
        }
        for at in AT.into_iter().filter(|at| self.shown.contains(at)) {
            let x = self.x(at);
            let one = at == 1.0;
            let (color, width) = if one { (FAINT, 2) } else { (GRID, 1) };
            stroke(area, (x, from), (x, to), color.0.stroke_width(width))?;
            let color = if one { TEXT } else { FAINT };
            write(
                area,
                &format!("{at}"),
                (x, from - 12),
                (12, one, color),
                HPos::Center,
            )?;
        }
        Ok(())
    }

    fn line(&self, area: &Area, line: &Line, top: i32) -> Drawn {
        let middle = top + LINE / 2;
        write(
            area,
            &line.name,
            (24, middle),
            (14, false, TEXT),
            HPos::Left,
        )?;
        let both = [false, true].map(|mixed| line.rows.iter().any(|row| row.mixed == mixed));
        for (mixed, right) in [(false, NUMBERS[0]), (true, NUMBERS[1])] {
            let rows: Vec<_> = line.rows.iter().filter(|row| row.mixed == mixed).collect();
            let y = match (both, mixed) {
                ([true, true], false) => middle - 5,
                ([true, true], true) => middle + 5,
                _ => middle,
            };
            for row in &rows {
                self.spread(area, row, y)?;
            }
            for row in &rows {
                self.point(area, row, y)?;
            }
            let all = rows.iter().map(|row| row.summary.ratio.median);
            if let Some(highest) = all.reduce(f64::max) {
                let style = (14, rows.iter().any(|row| row.misses()), ink(mixed));
                write(area, &times(highest), (right, middle), style, HPos::Right)?;
            }
        }
        Ok(())
    }

    /// From the lowest to the highest round, and where the target is.
    fn spread(&self, area: &Area, row: &Row, y: i32) -> Drawn {
        let ratio = row.summary.ratio;
        let ends = [ratio.low, ratio.high].map(|end| (self.x(end), y));
        let whole = ink(row.mixed).0.mix(0.35).stroke_width(2);
        stroke(area, ends[0], ends[1], whole)?;
        let target = row.target.map(|target| self.x(target));
        target.map_or(Ok(()), |x| {
            stroke(area, (x, y - 5), (x, y + 5), FAINT.0.stroke_width(1))
        })
    }

    fn point(&self, area: &Area, row: &Row, y: i32) -> Drawn {
        let ratio = row.summary.ratio.median;
        let (x, ink) = (self.x(ratio), ink(row.mixed));
        let out = match ratio {
            r if r > self.shown.end => 7,
            r if r < self.shown.start => -7,
            _ => return dot(area, (x, y), ink),
        };
        let arrow = [(x, y - 5), (x + out, y), (x, y + 5)];
        let drawn = area.draw(&Polygon::new(arrow, ink.0.mix(0.7).filled()));
        drawn.map_err(|e| e.to_string())
    }
}

fn rectangle(area: &Area, from: (i32, i32), to: (i32, i32), ink: Ink) -> Drawn {
    let drawn = area.draw(&Rectangle::new([from, to], ink.0.filled()));
    drawn.map_err(|e| e.to_string())
}

fn stroke(area: &Area, from: (i32, i32), to: (i32, i32), style: ShapeStyle) -> Drawn {
    let drawn = area.draw(&PathElement::new([from, to], style));
    drawn.map_err(|e| e.to_string())
}

/// Those that lie over each other show through.
fn dot(area: &Area, at: (i32, i32), ink: Ink) -> Drawn {
    let drawn = area.draw(&Circle::new(at, 4, ink.0.mix(0.7).filled()));
    drawn.map_err(|e| e.to_string())
}

fn write(
    area: &Area,
    text: &str,
    at: (i32, i32),
    (size, bold, ink): (i32, bool, Ink),
    side: HPos,
) -> Drawn {
    let style = if bold {
        FontStyle::Bold
    } else {
        FontStyle::Normal
    };
    // The backend takes a size for the height of a line, and makes it that of the letters.
    let font = (FONT, f64::from(size) * 1.24, style).into_font();
    let text_style = font.color(&ink.0).pos(Pos::new(side, VPos::Center));
    area.draw_text(text, &text_style, at)
        .map_err(|e| e.to_string())
}
