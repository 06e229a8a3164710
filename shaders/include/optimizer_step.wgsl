// What changes from one optimizer step to the next; twin of OptimizerStep in crates/gpu/src/ops/optimizer.rs.

struct OptimizerStep {
    // Learning rate over the correction of the first moment.
    step_size: f32,
    // Factor on the parameters: 1 - learning rate * weight decay.
    decay: f32,
    one_minus_beta1: f32,
    beta2: f32,
    one_minus_beta2: f32,
    // √(1 - beta2^t).
    correction2: f32,
    epsilon: f32,
    // Gradients longer than this are shortened to it; 0 = never.
    max_norm: f32,
    // First element of the parameters in their buffer.
    offset: u32,
    padding0: u32,
    padding1: u32,
    padding2: u32,
}

// Factor on a gradient whose squared length is `square`, as in torch.nn.utils.clip_grad_norm_.
fn clip(step: OptimizerStep, square: f32) -> f32 {
    return select(1.0, min(1.0, step.max_norm / (sqrt(square) + 1e-6)), step.max_norm > 0.0);
}
