//! What no machine with Vulkan shows: that the kernels can be had in the languages of Metal and DirectX, and that with their
//! constants they keep within what every WebGPU device offers.

use naga::back::{hlsl, msl, pipeline_constants};
use naga::valid::{Capabilities, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ShaderStage};
use tmem_core::abort::Abort;
use tmem_core::card::Card;
use tmem_core::engine::Engine;
use tmem_core::rollout::policy::Policy as _;
use tmem_core::settings::Settings;
use tmem_gpu::{AdapterKind, Gpu, Origin, self_test};
use tmem_tests::{fixture, load_model, open_gpu_as, open_gpu_with_half_products, smollm2_path};

/// What WebGPU promises everywhere: invocations and bytes of workgroup memory, and invocations along z.
const INVOCATIONS: u32 = 256;
const WORKGROUP_BYTES: u32 = 16 * 1024;
const DEEPEST: u32 = 64;

fn validator() -> Validator {
    let mut validator =
        Validator::new(ValidationFlags::all(), Capabilities::SHADER_FLOAT16_IN_FLOAT32 | Capabilities::SUBGROUP);
    validator.subgroup_stages(ShaderStages::COMPUTE).subgroup_operations(SubgroupOperationSet::all());
    validator
}

/// Translates a kernel as wgpu does for Metal and DirectX 12, and checks its sizes.
fn check(origin: &Origin) {
    let Origin { shader, entry, constants } = origin;
    let name = format!("{}.{entry} {constants:?}", shader.name);
    let module = naga::front::wgsl::parse_str(&shader.source()).unwrap_or_else(|e| panic!("{name}: {e}"));
    let info = validator().validate(&module).unwrap_or_else(|e| panic!("{name}: {e:?}"));
    let constants = constants.iter().map(|&(name, value)| (name.to_owned(), value)).collect();
    let stage = Some((ShaderStage::Compute, *entry));
    let (module, info) = pipeline_constants::process_overrides(&module, &info, stage, &constants)
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    check_sizes(&name, &module);

    let entry_point = Some((ShaderStage::Compute, (*entry).to_owned()));
    let options = msl::Options { lang_version: (2, 4), ..msl::Options::default() };
    let of_pipeline = msl::PipelineOptions { entry_point: entry_point.clone(), ..msl::PipelineOptions::default() };
    let metal = msl::write_string(&module, &info, &options, &of_pipeline);
    let (_, translated) = metal.unwrap_or_else(|e| panic!("{name}: Metal: {e}"));
    assert!(
        translated.entry_point_names.iter().all(Result::is_ok),
        "{name}: Metal: {:?}",
        translated.entry_point_names
    );

    let options = hlsl::Options { shader_model: hlsl::ShaderModel::V6_0, ..hlsl::Options::default() };
    let of_pipeline = hlsl::PipelineOptions { entry_point };
    let mut text = String::new();
    let direct_x = hlsl::Writer::new(&mut text, &options, &of_pipeline).write(&module, &info, None);
    let translated = direct_x.unwrap_or_else(|e| panic!("{name}: DirectX: {e}"));
    assert!(translated.entry_point_names.iter().all(Result::is_ok), "{name}: DirectX");
}

fn check_sizes(name: &str, module: &Module) {
    let [entry] = &module.entry_points[..] else { panic!("{name}: {} entry points", module.entry_points.len()) };
    let [x, y, z] = entry.workgroup_size;
    assert!(x * y * z <= INVOCATIONS && z <= DEEPEST, "{name}: {x} x {y} x {z} invocations");
    let in_workgroup: u32 = module
        .global_variables
        .iter()
        .filter(|(_, global)| global.space == AddressSpace::WorkGroup)
        .map(|(_, global)| module.types[global.ty].inner.size(module.to_ctx()))
        .sum();
    assert!(in_workgroup <= WORKGROUP_BYTES, "{name}: {in_workgroup} bytes of workgroup memory");
}

/// Compiles what a write with this model needs, without taking a step.
fn compile_write(gpu: &Gpu, model: &std::path::Path) -> usize {
    let mut settings = Settings::small();
    (settings.fast.kl_prompts, settings.fast.unknown_cards) = (0, 0);
    let model = load_model(gpu, model);
    let layers = model.config.layers;
    settings.fast.layers = settings.fast.layers.min(layers);
    let mut engine = pollster::block_on(Engine::new(gpu, model, &settings)).unwrap();
    let card = Card {
        id: 1,
        question: "Which number has the ferry?".into(),
        wordings: Vec::new(),
        answer: "7".into(),
        source_turn: None,
    };
    let abort = Abort::default();
    abort.abort();
    let report = pollster::block_on(engine.learn(&[card], &[], &mut |_| {}, &abort)).unwrap();
    assert_eq!(report.steps, []);
    layers
}

fn check_all(gpu: &Gpu) {
    pollster::block_on(self_test(gpu, &mut |_| {})).unwrap();
    check_writes(gpu);
}

/// Those of writes, and of what was run before.
fn check_writes(gpu: &Gpu) {
    let tested = gpu.compiled().len();
    compile_write(gpu, &fixture("tiny_a.q4_1.gguf"));
    compile_write(gpu, &smollm2_path());
    let compiled = gpu.compiled();
    assert!(compiled.len() > tested + 30, "{tested} of the self-test, {} in all", compiled.len());
    compiled.iter().for_each(check);
}

#[test]
fn kernels_for_gpus_exist_on_metal_and_direct_x_and_fit_every_device() {
    check_all(&open_gpu_as(AdapterKind::Gpu));
}

#[test]
fn products_in_half_precision_exist_on_metal_and_direct_x_and_fit_every_device() {
    let gpu = open_gpu_with_half_products();
    check_writes(&gpu);
    assert!(
        gpu.compiled().iter().any(|origin| origin.shader.name.contains("tile_half")),
        "no product in half precision"
    );
}

#[test]
fn kernels_for_emulated_adapters_exist_on_metal_and_direct_x_and_fit_every_device() {
    check_all(&open_gpu_as(AdapterKind::Cpu));
}
