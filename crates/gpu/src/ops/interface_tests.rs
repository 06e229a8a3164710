//! Checks that go over every shader: valid WGSL, within the limits that tmem promises, and with the bindings and
//! override constants that its launcher hands over.

use std::collections::HashSet;
use std::fmt::Write as _;

use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, StorageAccess};

use super::SHADERS;
use crate::Shader;

/// The most invocations in a workgroup, bytes of workgroup memory and storage buffers of a stage that a shader may use:
/// what every WebGPU device has.
const INVOCATIONS: u32 = 256;
const WORKGROUP_BYTES: u32 = 16 * 1024;
const STORAGE_BUFFERS: usize = 8;

fn parse(shader: &Shader) -> (Module, ModuleInfo) {
    let source = shader.source();
    let module = naga::front::wgsl::parse_str(&source)
        .unwrap_or_else(|e| panic!("{}: {}", shader.name, e.emit_to_string(&source)));
    // `unpack2x16float` belongs to WebGPU's core; naga counts it as a capability of its own.
    let info = Validator::new(ValidationFlags::all(), Capabilities::SHADER_FLOAT16_IN_FLOAT32 | Capabilities::SUBGROUP)
        .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
        .subgroup_operations(naga::valid::SubgroupOperationSet::all())
        .validate(&module)
        .unwrap_or_else(|e| panic!("{}: {}", shader.name, e.emit_to_string(&source)));
    (module, info)
}

/// One line per entry point: `shader.entry: 0 read, 1 write, 3 uniform | A B? …`, overrides with a default marked by `?`.
fn describe(shader: &Shader) -> String {
    let (module, info) = parse(shader);
    let mut overrides: Vec<_> = module
        .overrides
        .iter()
        .map(|(_, o)| format!("{}{}", o.name.as_deref().unwrap(), if o.init.is_some() { "?" } else { "" }))
        .collect();
    overrides.sort();
    let mut text = String::new();
    for (i, entry) in module.entry_points.iter().enumerate() {
        let used = info.get_entry_point(i);
        let mut bindings: Vec<_> = module
            .global_variables
            .iter()
            .filter(|&(handle, _)| !used[handle].is_empty())
            .filter_map(|(_, global)| {
                let access = match global.space {
                    AddressSpace::Uniform => "uniform",
                    AddressSpace::Storage { access } if access.contains(StorageAccess::STORE) => "write",
                    _ => "read",
                };
                global.binding.map(|at| (at.binding, access))
            })
            .collect();
        bindings.sort_unstable();
        let bindings: Vec<_> = bindings.iter().map(|(at, access)| format!("{at} {access}")).collect();
        writeln!(text, "{}.{}: {} | {}", shader.name, entry.name, bindings.join(", "), overrides.join(" ")).unwrap();
    }
    text
}

#[test]
fn every_shader_is_valid_and_within_the_limits() {
    for shader in SHADERS.iter().copied().flatten() {
        let (module, info) = parse(shader);
        for (i, entry) in module.entry_points.iter().enumerate() {
            let name = format!("{}.{}", shader.name, entry.name);
            let used = info.get_entry_point(i);
            let globals: Vec<_> = module
                .global_variables
                .iter()
                .filter(|&(handle, _)| !used[handle].is_empty())
                .map(|(_, g)| g)
                .collect();
            let in_workgroup: u32 = globals
                .iter()
                .filter(|g| g.space == AddressSpace::WorkGroup)
                .map(|g| module.types[g.ty].inner.size(module.to_ctx()))
                .sum();
            let storage = globals.iter().filter(|g| matches!(g.space, AddressSpace::Storage { .. })).count();
            assert!(entry.workgroup_size.iter().product::<u32>() <= INVOCATIONS, "{name}: invocations");
            assert!(in_workgroup <= WORKGROUP_BYTES, "{name}: {in_workgroup} bytes of workgroup memory");
            assert!(storage <= STORAGE_BUFFERS, "{name}: {storage} storage buffers");
        }
    }
}

#[test]
fn names_are_unique() {
    let names: HashSet<_> = SHADERS.iter().copied().flatten().map(|shader| shader.name).collect();
    assert_eq!(
        names.len(),
        SHADERS.iter().map(|shaders| shaders.len()).sum::<usize>(),
        "kernels are cached by shader name"
    );
}

/// The tests of each operation run its launcher, so bindings and constants agree with the WGSL at that moment; this
/// one notices when a shader's interface changes, so that the change is seen in review together with its launcher.
#[test]
fn interfaces_are_those_on_record() {
    let mut lines: Vec<String> = SHADERS
        .iter()
        .copied()
        .flatten()
        .flat_map(|s| describe(s).lines().map(String::from).collect::<Vec<_>>())
        .collect();
    lines.sort();
    let found = lines.join("\n") + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/ops/interfaces.txt");
    if std::env::var_os("TMEM_RECORD").is_some() {
        std::fs::write(path, &found).unwrap();
    }
    let record = std::fs::read_to_string(path).unwrap();
    let new: Vec<_> = found.lines().filter(|line| !record.lines().any(|old| old == *line)).collect();
    assert!(
        found == record,
        "the shaders' interfaces differ from src/ops/interfaces.txt: {new:#?}\n\
         If the change is meant, run `TMEM_RECORD=1 cargo nextest run -p tmem-gpu interfaces`"
    );
}
