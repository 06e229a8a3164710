// Sharing among 8 neighbouring invocations, for kernels whose workgroups are (part of) one subgroup.

const LANES = 8u;

// What each of the lower four invocations holds.
fn from_lower(own: f32) -> vec4<f32> {
    return vec4(
        subgroupBroadcast(own, 0u), subgroupBroadcast(own, 1u), subgroupBroadcast(own, 2u), subgroupBroadcast(own, 3u),
    );
}

// What each of the upper four holds.
fn from_upper(own: f32) -> vec4<f32> {
    return vec4(
        subgroupBroadcast(own, 4u), subgroupBroadcast(own, 5u), subgroupBroadcast(own, 6u), subgroupBroadcast(own, 7u),
    );
}
