//! Measuring a model's products once on a GPU that has a choice of kernels for them.

use tmem_gpu::{AdapterKind, Gpu, GpuError, Product, Tuning, Weight};

use super::learn::TRAIN_SIZE;
use super::runner::PREFILL;
use crate::model::Model;

/// Puts the fastest kernels for this model's products in force, before plans are made with them: those `remembered` from
/// an earlier call, or else they are measured, and returned to be remembered. Which kernels are in force changes no
/// result. Emulated adapters have no choice: nothing is measured on them.
///
/// # Errors
/// A lost device, or no room for a weight as large as the model's largest.
pub async fn tune(gpu: &Gpu, model: &Model, remembered: Option<&[u8]>) -> Result<Option<Vec<u8>>, GpuError> {
    if gpu.kind() == AdapterKind::Cpu {
        return Ok(None);
    }
    let products = products_of(model);
    if let Some(tuning) = remembered.and_then(|bytes| Tuning::from_bytes(gpu, &products, bytes)) {
        gpu.set_tuning(tuning);
        return Ok(None);
    }
    let tuning = gpu.tune(&products).await?;
    let bytes = tuning.to_bytes(gpu);
    gpu.set_tuning(tuning);
    Ok(Some(bytes))
}

/// The products of many rows that the plans of prefill and training make, each once. (Those of decoding have one kernel.)
fn products_of(model: &Model) -> Vec<Product> {
    let mut products = Vec::new();
    let mut add = |weight: &Weight, rows: usize| {
        let &Weight { format, outputs, inputs, .. } = weight;
        let product = Product { format, outputs, inputs, rows };
        if !products.contains(&product) {
            products.push(product);
        }
    };
    for layer in &model.weights.layers {
        for part in [&layer.qkv, &layer.output, &layer.gate_up, &layer.down].into_iter().flatten() {
            add(&part.weight, PREFILL.rows);
            add(&part.weight, TRAIN_SIZE.rows);
        }
    }
    for part in model.weights.head() {
        add(&part.weight, PREFILL.logits);
        add(&part.weight, TRAIN_SIZE.loss_chunk);
    }
    products
}
