// Rows of a tile of which each of 8 invocations holds one. Needs include/row_sums and include/subgroup.

fn of_eight_rows(own: f32) -> Rows {
    return Rows(from_lower(own), from_upper(own));
}

// Eight columns of the rows, of which each invocation has the first four and the others of its own row.
fn eight_columns(low: vec4<f32>, high: vec4<f32>) -> array<Rows, 8> {
    return array(
        of_eight_rows(low.x), of_eight_rows(low.y), of_eight_rows(low.z), of_eight_rows(low.w),
        of_eight_rows(high.x), of_eight_rows(high.y), of_eight_rows(high.z), of_eight_rows(high.w),
    );
}
