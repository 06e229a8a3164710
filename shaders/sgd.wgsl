// Plain gradient descent with decoupled weight decay and clipping by the global norm:
//   p <- decay * p - step_size * clip * gradient.
// Without momentum this is torch.optim.SGD with the same weight_decay.
// Shapes: gradient [LENGTH]; parameters: LENGTH elements from step.offset on; norm [2] (gradient_norm).
// A gradient with elements that are not finite (norm[1] > 0) changes nothing. Needs include/optimizer_step.

override LENGTH: u32;

@group(0) @binding(0) var<storage, read> gradient: array<f32>;
@group(0) @binding(1) var<storage, read_write> parameters: array<f32>;
@group(0) @binding(2) var<storage, read> norm: array<f32>;
@group(0) @binding(3) var<uniform> step: OptimizerStep;

@compute @workgroup_size(64)
fn sgd(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x;
    if i >= LENGTH || norm[1] > 0.0 {
        return;
    }
    let at = step.offset + i;
    parameters[at] = step.decay * parameters[at] - step.step_size * clip(step, norm[0]) * gradient[i];
}
