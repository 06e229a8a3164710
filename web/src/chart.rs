//! Geometry of the charts.

use tmem_core::fast::SiteNorm;

/// Points of a line through `values` for SVG's `points`, room for `planned` of them, the largest value at the top and
/// zero at the bottom. Values that are not finite are left out.
pub fn polyline(values: &[f32], planned: usize, width: f32, height: f32) -> String {
    let top = values.iter().copied().filter(|v| v.is_finite()).fold(f32::MIN_POSITIVE, f32::max);
    let gaps = planned.max(values.len()).saturating_sub(1).max(1) as f32;
    let points = values.iter().enumerate().filter(|(_, v)| v.is_finite()).map(|(at, &value)| {
        let x = at as f32 / gaps * width;
        let y = height - value.max(0.0) / top * height + 2.0;
        format!("{x:.1},{y:.1}")
    });
    points.collect::<Vec<_>>().join(" ")
}

/// ‖ΔW‖/‖W‖ as a grid: one column a layer, one row a projection.
#[derive(Debug, Clone, PartialEq)]
pub struct HeatMap {
    /// Layers, ascending.
    pub layers: Vec<usize>,
    /// Projections, in the order they first appear.
    pub projections: Vec<String>,
    /// Sites.
    pub cells: Vec<Cell>,
    /// The largest value.
    pub largest: f32,
}

/// One site.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Index into the layers.
    pub column: usize,
    /// Index into the projections.
    pub row: usize,
    /// ‖ΔW‖/‖W‖.
    pub value: f32,
    /// Share of the largest value, in 0..=1.
    pub share: f32,
}

impl HeatMap {
    /// The grid of these sites.
    pub fn of(norms: &[SiteNorm]) -> Self {
        let mut layers: Vec<_> = norms.iter().map(|site| site.layer).collect();
        layers.sort_unstable();
        layers.dedup();
        let mut projections: Vec<String> = Vec::new();
        for site in norms {
            if !projections.contains(&site.projection) {
                projections.push(site.projection.clone());
            }
        }
        let largest = norms.iter().map(|site| site.relative).filter(|v| v.is_finite()).fold(0.0, f32::max);
        let cells = norms.iter().filter_map(|site| {
            let column = layers.binary_search(&site.layer).ok()?;
            let row = projections.iter().position(|name| *name == site.projection)?;
            let share = if largest > 0.0 { (site.relative / largest).clamp(0.0, 1.0) } else { 0.0 };
            Some(Cell { column, row, value: site.relative, share })
        });
        let cells = cells.collect();
        Self { layers, projections, cells, largest }
    }

    /// The map in a sentence, for those who do not see it.
    pub fn summary(&self) -> String {
        let most = self.cells.iter().max_by(|a, b| a.value.total_cmp(&b.value));
        match most.filter(|cell| cell.value > 0.0) {
            Some(cell) => format!(
                "Size of the fast weights at {} sites; largest {:.3} at layer {}, {}.",
                self.cells.len(),
                cell.value,
                self.layers[cell.column],
                self.projections[cell.row]
            ),
            None => format!("The fast weights are zero at all {} sites.", self.cells.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(layer: usize, projection: &str, relative: f32) -> SiteNorm {
        SiteNorm { layer, projection: projection.into(), relative }
    }

    #[test]
    fn the_line_keeps_room_for_steps_to_come() {
        assert_eq!(polyline(&[4.0, 2.0], 5, 100.0, 10.0), "0.0,2.0 25.0,7.0");
        assert_eq!(polyline(&[4.0, f32::NAN, 0.0], 3, 100.0, 10.0), "0.0,2.0 100.0,12.0");
        assert_eq!(polyline(&[], 0, 100.0, 10.0), "");
        assert_eq!(polyline(&[1.0], 1, 100.0, 10.0), "0.0,2.0");
    }

    #[test]
    fn sites_find_their_place_and_share() {
        let map = HeatMap::of(&[site(23, "up_proj", 0.1), site(22, "up_proj", 0.2), site(22, "down_proj", 0.0)]);
        assert_eq!((map.layers.as_slice(), map.projections.len()), ([22, 23].as_slice(), 2));
        assert_eq!(map.cells[0], Cell { column: 1, row: 0, value: 0.1, share: 0.5 });
        assert_eq!(map.summary(), "Size of the fast weights at 3 sites; largest 0.200 at layer 22, up_proj.");
    }

    #[test]
    fn zero_weights_are_told_as_zero() {
        let map = HeatMap::of(&[site(1, "up_proj", 0.0)]);
        assert_eq!(map.cells[0].share, 0.0);
        assert_eq!(map.summary(), "The fast weights are zero at all 1 sites.");
    }
}
