// What goes into a product (matmul_workgroup.wgsl, projection_workgroup.wgsl), as it is. One of two includes with the same
// functions:
//   Four              four numbers in workgroup memory
//   kept(v), taken(f) to it and from it
//   rounded(v)        numbers as a product takes them: taken(kept(v))
//   BANKS             outputs of which each four of columns, one below the other, goes round all banks of workgroup memory

alias Four = vec4<f32>;

const BANKS = 2u;

fn kept(v: vec4<f32>) -> Four {
    return v;
}

fn taken(four: Four) -> vec4<f32> {
    return four;
}

fn rounded(v: vec4<f32>) -> vec4<f32> {
    return v;
}
