use super::*;
use crate::Shader;
use crate::ops::SHADERS;
use crate::testing::{TestGpu, gpu_with_half_products, on_every_kind};

fn test(gpu: &TestGpu) -> Vec<KernelCheck> {
    let mut seen = Vec::new();
    let checks = pollster::block_on(self_test(gpu, &mut |check| seen.push(check.clone()))).unwrap();
    assert_eq!(seen, checks, "every check is observed, in order");
    checks
}

/// Makes every later launch that asks for this entry point with these constants run `source`: kernels are kept by
/// name, and the first text compiled under a name stays.
fn substitute(
    gpu: &TestGpu,
    name: &'static str,
    entry: &'static str,
    constants: &[(&'static str, f64)],
    source: String,
) {
    gpu.kernel(&Shader { name, parts: vec![&*source.leak()].leak() }, entry, constants).unwrap();
}

fn source_of(name: &str) -> String {
    SHADERS.iter().copied().flatten().find(|shader| shader.name == name).unwrap().source()
}

#[test]
fn every_kernel_passes() {
    on_every_kind(|gpu| {
        for check in test(gpu) {
            assert!(check.passed, "{check:?}");
            assert!(check.error <= check.tolerance, "{check:?}");
        }
    });
}

#[test]
fn products_in_half_precision_pass() {
    let gpu = gpu_with_half_products();
    for (name, build) in forward::CHECKS.iter().chain(forward::TILED) {
        if name.starts_with("matmul") || name.starts_with("lora_down") {
            let Finding { error, tolerance, message } = pollster::block_on(run(&gpu, *build)).unwrap();
            assert!(message.is_empty() && error <= tolerance, "{name}: {error}, {message}");
        }
    }
}

#[test]
fn every_shader_has_a_check() {
    let all = [forward::CHECKS, attention::CHECKS, projection::CHECKS, training::CHECKS];
    let gpu = [forward::TILED, attention::SPLIT, projection::TILED, training::TILED];
    let names: Vec<&str> = all.into_iter().chain(gpu).flatten().map(|&(name, _)| name).collect();
    for shader in SHADERS.iter().copied().flatten() {
        let file = shader.name.split('+').next().unwrap();
        // A second shader of one operation has a suffix to the launcher's name.
        let launcher = ["_row", "_tile", "_subgroup", "_decode", "_blocks", "_workgroup"]
            .iter()
            .find_map(|suffix| file.strip_suffix(suffix))
            .unwrap_or(file);
        assert!(names.iter().any(|name| name.split(' ').next() == Some(launcher)), "{} is not checked", shader.name);
    }
}

#[test]
fn a_wrong_kernel_is_named_with_what_was_expected() {
    on_every_kind(|gpu| {
        let broken = source_of("swiglu").replace("1.0 + exp", "1.01 + exp");
        substitute(gpu, "swiglu", "swiglu", &[("FFN", forward::FFN as f64)], broken);
        let failed: Vec<_> = test(gpu).into_iter().filter(|check| !check.passed).collect();
        assert_eq!(failed.iter().map(|check| check.name).collect::<Vec<_>>(), ["swiglu"]);
        assert!(failed[0].error > 1e-3 && failed[0].error.is_finite(), "{failed:?}");
        assert!(failed[0].message.contains("want"), "{failed:?}");
    });
}

#[test]
fn values_left_unwritten_are_seen() {
    on_every_kind(|gpu| {
        let broken = source_of("swiglu").replace("if i < FFN {", "if i + 1u < FFN {");
        substitute(gpu, "swiglu", "swiglu", &[("FFN", forward::FFN as f64)], broken);
        let failed: Vec<_> = test(gpu).into_iter().filter(|check| !check.passed).collect();
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0].error, f64::INFINITY);
        assert!(failed[0].message.contains("got NaN"), "{failed:?}");
    });
}
