//! Draws how a figure grows with the load: a row called `NAME: X` is a point at X of the curve NAME.
//!
//! The input is that of `table`. Each curve becomes an SVG file with a line for each server through the
//! medians of its runs; both axes are logarithmic.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::args::PlotArgs;
use super::error::{BenchError, io};
use super::table::{self, Figures, Row};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
/// Room for the title, the numbers of both axes, and half of the last one.
const TOP: f64 = 48.0;
const LEFT: f64 = 80.0;
const BOTTOM: f64 = 40.0;
const RIGHT: f64 = 24.0;
/// One for each server, in the order of their names.
const COLOURS: [&str; 4] = ["#c2410c", "#57534e", "#0369a1", "#15803d"];

/// Runs `plot`.
pub(super) fn run(args: &PlotArgs) -> Result<(), BenchError> {
    let curves = curves(&table::read(&args.results)?)?;
    fs::create_dir_all(&args.out).map_err(io("make the folder"))?;
    for curve in &curves {
        let path = Path::new(&args.out).join(curve.file_name());
        fs::write(&path, curve.draw()).map_err(io("write a curve"))?;
        println!("{}", path.display());
    }
    Ok(())
}

/// Medians by x, for each server.
#[derive(Debug)]
struct Curve {
    name: String,
    figure: String,
    lines: BTreeMap<String, Vec<(f64, f64)>>,
}

fn curves(rows: &[Row]) -> Result<Vec<Curve>, BenchError> {
    let mut curves: Vec<Curve> = Vec::new();
    for row in rows {
        let Some((name, x)) = row.name.rsplit_once(": ") else { continue };
        let x: f64 = x.parse().ok().filter(|x| *x > 0.0).ok_or_else(|| {
            BenchError::Usage(format!("row {:?} does not end with a number above zero", row.name))
        })?;
        let index = curves.iter().position(|curve| curve.name == name).unwrap_or(curves.len());
        if index == curves.len() {
            let figure = row.figure.clone();
            curves.push(Curve { name: name.into(), figure, lines: BTreeMap::new() });
        }
        for (server, runs) in &row.runs {
            let median = Figures::of(runs, &row.figure).median();
            let point = median.filter(|y| *y > 0.0).map(|y| (x, y));
            curves[index].lines.entry(server.clone()).or_default().extend(point);
        }
    }
    for points in curves.iter_mut().flat_map(|curve| curve.lines.values_mut()) {
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
    }
    match curves.is_empty() {
        true => Err(BenchError::Usage("no row is called \"NAME: NUMBER\"".into())),
        false => Ok(curves),
    }
}

/// Where a value lies between two others, 0 to 1, on a logarithmic scale.
struct Scale {
    from: f64,
    to: f64,
}

impl Scale {
    fn around(values: impl Iterator<Item = f64> + Clone) -> Self {
        let from = values.clone().fold(f64::INFINITY, f64::min).log10();
        let to = values.fold(f64::NEG_INFINITY, f64::max).log10();
        // One value alone lies in the middle.
        if to > from { Self { from, to } } else { Self { from: from - 0.5, to: from + 0.5 } }
    }

    fn share(&self, value: f64) -> f64 {
        (value.log10() - self.from) / (self.to - self.from)
    }
}

impl Curve {
    fn file_name(&self) -> String {
        let words = self.name.split(|letter: char| !letter.is_ascii_alphanumeric());
        let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
        format!("{}.svg", words.join("-"))
    }

    fn draw(&self) -> String {
        let points = self.lines.values().flatten();
        let xs: BTreeSet<u64> = points.clone().map(|(x, _)| *x as u64).collect();
        let x_scale = Scale::around(points.clone().map(|(x, _)| *x));
        // Whole decades, so that their lines are the frame.
        let y_scale = Scale::around(points.flat_map(|(_, y)| {
            [10f64.powf(y.log10().floor()), 10f64.powf(y.log10().floor() + 1.0)]
        }));
        let at_x = |x: f64| LEFT + x_scale.share(x) * (WIDTH - LEFT - RIGHT);
        let at_y = |y: f64| HEIGHT - BOTTOM - y_scale.share(y) * (HEIGHT - TOP - BOTTOM);
        let right = WIDTH - RIGHT;

        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
             <text x=\"{LEFT}\" y=\"20\">{}: {}</text>\n",
            escaped(&self.name),
            escaped(&self.figure)
        );
        // Writing to a string cannot fail.
        for decade in y_scale.from.round() as i32..=y_scale.to.round() as i32 {
            let (value, y) = (10f64.powi(decade), at_y(10f64.powi(decade)));
            let _ = writeln!(
                out,
                "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#d6d3d1\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
                LEFT - 6.0,
                y + 4.0
            );
        }
        for x in xs {
            let _ = writeln!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{x}</text>",
                at_x(x as f64),
                HEIGHT - BOTTOM + 18.0
            );
        }
        for (index, (server, points)) in self.lines.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            let path: Vec<_> =
                points.iter().map(|(x, y)| format!("{:.1},{:.1}", at_x(*x), at_y(*y))).collect();
            let _ = writeln!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                path.join(" ")
            );
            for (x, y) in points {
                let (x, y) = (at_x(*x), at_y(*y));
                let _ = writeln!(
                    out,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
                );
            }
            let _ = writeln!(
                out,
                "<text x=\"{right}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"{colour}\">{}</text>",
                20.0 + 14.0 * index as f64,
                escaped(server)
            );
        }
        out.push_str("</svg>\n");
        out
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULTS: &str = "\
        connections, rate: 1\tmps\tmore\t-\tours\t{\"mps\":20000}\n\
        connections, rate: 1\tmps\tmore\t-\tours\t{\"mps\":40000}\n\
        connections, rate: 100\tmps\tmore\t-\tours\t{\"mps\":100000}\n\
        connections, rate: 10\tmps\tmore\t-\tours\t{\"mps\":60000}\n\
        connections, rate: 10\tmps\tmore\t-\ta <b>\t{\"mps\":6000}\n\
        send\tmps\tmore\t-\tours\t{\"mps\":1}\n";

    fn drawn(results: &str) -> Result<Vec<Curve>, BenchError> {
        curves(&table::parse(results)?)
    }

    #[test]
    fn curve_goes_through_the_medians_in_the_order_of_x() {
        let curves = drawn(RESULTS).unwrap();
        assert_eq!(curves.len(), 1);
        assert_eq!(curves[0].file_name(), "connections-rate.svg");
        let ours = &curves[0].lines["ours"];
        assert_eq!(ours, &[(1.0, 30_000.0), (10.0, 60_000.0), (100.0, 100_000.0)]);
    }

    #[test]
    fn picture_holds_a_line_for_each_server_inside_its_frame() {
        let picture = drawn(RESULTS).unwrap()[0].draw();
        assert_eq!(picture.matches("<polyline").count(), 2);
        assert!(picture.contains("a &lt;b&gt;") && !picture.contains("<b>"));
        // Two decades of x, and three of y: 1 000 to 1 000 000.
        assert!(picture.contains(">1000000<") && picture.contains(">1000<"), "{picture}");
        for point in picture.split("cx=\"").skip(1) {
            let x: f64 = point.split('"').next().unwrap().parse().unwrap();
            assert!((LEFT..=WIDTH - RIGHT).contains(&x), "{x}");
        }
    }

    #[test]
    fn results_without_a_curve_are_refused() {
        for results in
            ["send\tmps\tmore\t-\tours\t{\"mps\":1}\n", "a: b\tmps\tmore\t-\to\t{\"mps\":1}\n"]
        {
            assert!(matches!(drawn(results), Err(BenchError::Usage(_))));
        }
    }
}
