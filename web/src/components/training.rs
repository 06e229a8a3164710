//! Training as it happens: the loss of each step as a line, the size of ΔW at each site as a heat map.

use leptos::prelude::*;
use tmem_core::fast::{SiteNorm, StepReport};

use crate::chart;
use crate::format;
use crate::page::Page;

/// Both charts, once there is something to draw.
#[component]
pub(crate) fn Training() -> impl IntoView {
    let page = Page::here();
    let steps = Memo::new(move |_| page.state.with(|s| s.steps.clone()));
    let norms = Memo::new(move |_| page.state.with(|s| s.current_norms()));
    let any =
        Memo::new(move |_| !steps.with(Vec::is_empty) || norms.with(|n| n.iter().any(|site| site.relative > 0.0)));
    view! {
        <section aria-labelledby="training-title" data-testid="training">
            <h2 id="training-title">"Fast weights"</h2>
            {move || {
                if any.get() {
                    view! {
                        {move || steps.with(|s| (!s.is_empty()).then(|| loss_line(s)))}
                        {move || norms.with(|n| (!n.is_empty()).then(|| heat_map(n)))}
                    }
                        .into_any()
                } else {
                    view! { <p class="hint">"Nothing learned yet: Δ = 0, the model is as it was downloaded."</p> }.into_any()
                }
            }}
        </section>
    }
}

fn loss_line(steps: &[StepReport]) -> impl IntoView + use<> {
    const WIDTH: f32 = 320.0;
    const HEIGHT: f32 = 96.0;
    let losses: Vec<f32> = steps.iter().map(|step| step.loss).collect();
    let planned = steps.last().map_or(0, |step| step.steps);
    let points = chart::polyline(&losses, planned, WIDTH, HEIGHT);
    let last = steps.last().cloned();
    let caption = last.map(|step| {
        let learned = format::percent(step.learned);
        format!("Step {} of {}: loss {:.2}, {learned} of the answer tokens known", step.step + 1, step.steps, step.loss)
    });
    let first = losses.first().copied().unwrap_or_default();
    let label = format!(
        "Loss per training step, from {first:.2} at the first to {:.2} at the latest.",
        losses.last().copied().unwrap_or_default()
    );
    view! {
        <figure>
            <svg class="chart" viewBox=format!("0 0 {WIDTH} {}", HEIGHT + 4.0) role="img" aria-label=label data-testid="loss">
                <line class="axis" x1="0" x2=WIDTH y1=HEIGHT + 2.0 y2=HEIGHT + 2.0 />
                <polyline class="curve" points=points />
            </svg>
            <figcaption class="hint" data-testid="step">{caption}</figcaption>
        </figure>
    }
}

fn heat_map(norms: &[SiteNorm]) -> impl IntoView + use<> {
    const LABEL: f32 = 64.0;
    const CELL: f32 = 22.0;
    const GAP: f32 = 2.0;
    let map = chart::HeatMap::of(norms);
    let across = (320.0 - LABEL) / map.layers.len().max(1) as f32;
    let x = move |column: usize| LABEL + column as f32 * across;
    let y = |row: usize| row as f32 * CELL;
    let bottom = y(map.projections.len()) + 12.0;
    let cells = map.cells.iter().map(|cell| {
        let title = format!("layer {}, {}: {:.4}", map.layers[cell.column], map.projections[cell.row], cell.value);
        let (x, y, width) = (x(cell.column), y(cell.row), across - GAP);
        view! {
            <g>
                <title>{title}</title>
                <rect class="under" x=x y=y width=width height=CELL - GAP rx="3" />
                <rect class="cell" x=x y=y width=width height=CELL - GAP rx="3" opacity=format!("{:.3}", cell.share) />
            </g>
        }
    });
    let rows = map.projections.iter().enumerate().map(|(row, name)| {
        view! { <text x="0" y=y(row) + CELL * 0.65>{name.trim_end_matches("_proj").to_owned()}</text> }
    });
    let columns = map.layers.iter().enumerate().map(|(column, layer)| {
        view! { <text x=x(column) + across / 2.0 - GAP y=bottom text-anchor="middle">{layer.to_string()}</text> }
    });
    let (cells, rows, columns) = (cells.collect_view(), rows.collect_view(), columns.collect_view());
    let table = norms
        .iter()
        .map(|site| {
            view! {
                <tr>
                    <th scope="row">{format!("layer {} {}", site.layer, site.projection)}</th>
                    <td>{format!("{:.4}", site.relative)}</td>
                </tr>
            }
        })
        .collect_view();
    view! {
        <figure data-testid="heat-map">
            <svg class="chart" viewBox=format!("0 0 320 {}", bottom + 4.0) role="img" aria-label=map.summary()>
                {cells}
                {rows}
                {columns}
            </svg>
            <figcaption class="hint">
                {format!("Size of ΔW against W, by layer; darkest is {:.3}", map.largest)}
            </figcaption>
            <table class="visually-hidden">
                <caption>"Size of ΔW against W at each site"</caption>
                <tbody>{table}</tbody>
            </table>
        </figure>
    }
}
