//! Rows as bars: the median, and a line to P95. One plot for each case, class and quantity.

use plotters::prelude::*;

use super::row::{Role, Row};
use crate::measure::Outcome;
use crate::measure::figures::Unit;

const WIDTH: u32 = 760;
const ROW_HEIGHT: u32 = 26;
const NAME_WIDTH: i32 = 230;
const FIGURE_WIDTH: i32 = 110;
const FONT: (&str, i32) = ("sans-serif", 13);

/// The plot of rows that are comparable with each other and have figures, as SVG. The axis is logarithmic where the
/// figures are far apart, and says so.
pub fn bars(rows: &[&Row], unit: Unit) -> Outcome<String> {
    let mut svg = String::new();
    {
        let height = ROW_HEIGHT * rows.len() as u32 + 8;
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        let scale = Axis::of(rows);
        for (number, row) in rows.iter().enumerate() {
            let Some(figures) = row.figures() else { continue };
            let top = number as i32 * ROW_HEIGHT as i32 + 4;
            let (middle, end) = (top + ROW_HEIGHT as i32 / 2 - 2, scale.at(figures.median));
            let color = match row.role {
                Role::Helios => RGBColor(214, 96, 20),
                Role::Peer => RGBColor(90, 120, 160),
                Role::Ceiling => RGBColor(150, 150, 150),
            };
            area.draw(&Rectangle::new(
                [(NAME_WIDTH, top), (end, top + 18)],
                color.filled(),
            ))?;
            let tail = scale.at(figures.p95);
            area.draw(&PathElement::new(
                vec![(end, middle), (tail, middle)],
                BLACK.stroke_width(1),
            ))?;
            area.draw(&PathElement::new(
                vec![(tail, middle - 4), (tail, middle + 4)],
                BLACK.stroke_width(1),
            ))?;
            area.draw(&Text::new(row.subject.clone(), (2, middle - 6), FONT))?;
            let label = unit.show(figures.median);
            area.draw(&Text::new(label, (end.max(tail) + 6, middle - 6), FONT))?;
        }
        area.present()?;
    }
    Ok(svg)
}

/// Where the plot of these rows is logarithmic.
pub fn is_logarithmic(rows: &[&Row]) -> bool {
    Axis::of(rows).logarithmic
}

struct Axis {
    lowest: f64,
    highest: f64,
    logarithmic: bool,
}

impl Axis {
    fn of(rows: &[&Row]) -> Axis {
        let values = || {
            let figures = rows.iter().filter_map(|row| row.figures());
            figures
                .flat_map(|figures| [figures.median, figures.p95])
                .map(|value| value.max(1.0))
        };
        let (lowest, highest) = (
            values().fold(f64::INFINITY, f64::min),
            values().fold(1.0, f64::max),
        );
        Axis {
            // A decade below the smallest, so that its bar can be seen.
            lowest: lowest / 10.0,
            highest,
            logarithmic: highest / lowest > 50.0,
        }
    }

    fn at(&self, value: f64) -> i32 {
        let value = value.max(1.0);
        let part = if self.logarithmic {
            (value / self.lowest).ln() / (self.highest / self.lowest).ln()
        } else {
            value / self.highest
        };
        let room = f64::from(WIDTH as i32 - NAME_WIDTH - FIGURE_WIDTH);
        NAME_WIDTH + (part.clamp(0.0, 1.0) * room) as i32
    }
}
