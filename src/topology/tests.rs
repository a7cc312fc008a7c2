//! Hosts and layouts: recorded machines, machines that cannot be, and random ones.
//!
//! What would break them: node numbers taken for places in a table, a CPU counted twice, a core taken for two because of its
//! threads, a pin to what is offline or forbidden. The oracle of the properties is the description that the tree was made
//! from. Negative controls run: nodes numbered by their place in the list; CPUs that are not allowed taken all the same;
//! every hardware thread taken for a core. Each failed the random hosts.

use super::*;
use crate::types::{CpuId, NodeId};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

fn recorded(machine: &str) -> SysTree {
    let path = format!("{}/tests/data/numa/{machine}.txt", env!("CARGO_MANIFEST_DIR"));
    SysTree::from_dump(&std::fs::read_to_string(path).unwrap())
}

fn topology(machine: &str) -> Topology {
    Topology::read(&recorded(machine)).unwrap()
}

fn plan(topology: &Topology, options: &LayoutOptions) -> Result<Layout, TopologyError> {
    Layout::plan(topology, &Allowance::everything(topology), options)
}

fn cpus(list: impl IntoIterator<Item = u32>) -> BTreeSet<CpuId> {
    list.into_iter().map(CpuId).collect()
}

#[test]
fn recorded_machines_are_read_as_they_were_built() {
    let four = topology("4n");
    assert_eq!((four.nodes.len(), four.cpus.len(), four.notes.len()), (4, 8, 0), "{:?}", four.notes);
    assert_eq!((four.distance(NodeId(0), NodeId(1)), four.distance(NodeId(0), NodeId(3))), (12, 32));
    assert_eq!(four.cpu(CpuId(5)).unwrap().node, NodeId(2));
    assert!(four.nodes.iter().all(|node| node.memory_bytes > 200 << 20 && node.free_bytes > 0));

    let threads = topology("smt");
    let cores: BTreeSet<CpuId> = threads.cpus.iter().map(|cpu| cpu.core).collect();
    assert_eq!((threads.cpus.len(), cores), (8, cpus([0, 2, 4, 6])));
    assert_eq!(threads.cpu(CpuId(7)).unwrap().package, 1);

    let memless = topology("memless");
    assert_eq!(memless.node(NodeId(1)).unwrap().memory_bytes, 0);
    assert_eq!(memless.memory_for(NodeId(1), |_| true), NodeId(2), "the nearer one");
    assert_eq!(memless.memory_for(NodeId(1), |node| node == NodeId(0)), NodeId(0), "the one allowed");

    let cpuless = topology("cpuless");
    assert_eq!(cpuless.cpus_of(NodeId(2)).count(), 0);
    let latency = |node| cpuless.node(NodeId(node)).unwrap().read_latency_ns;
    assert_eq!((latency(0), latency(2)), (Some(80), Some(250)), "as the firmware says");

    assert_eq!((topology("8n").nodes.len(), topology("8n").cpus.len()), (8, 32));
}

/// With `PHALANX_NUMA_DUMPS` set to a folder of further dumps, those too.
#[test]
fn every_recorded_machine_gets_a_sound_layout() {
    let mut folders = vec![format!("{}/tests/data/numa", env!("CARGO_MANIFEST_DIR"))];
    folders.extend(std::env::var("PHALANX_NUMA_DUMPS"));
    let mut seen = 0;
    for entry in folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap()) {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        let topology = Topology::read(&SysTree::open(&path).unwrap()).unwrap();
        for shards in [None, Some(1), Some(3), Some(64)] {
            let options = LayoutOptions { shards, ..LayoutOptions::default() };
            let layout = plan(&topology, &options).unwrap();
            let allowance = Allowance::everything(&topology);
            check(&topology, &allowance, &options, &layout);
        }
        seen += 1;
    }
    assert!(seen >= 5);
}

#[test]
fn a_core_of_every_node_stays_free_until_its_place_is_asked_for() {
    let four = topology("4n");
    let layout = plan(&four, &LayoutOptions::default()).unwrap();
    assert_eq!(layout.service, cpus([0, 2, 4, 6]));
    assert_eq!(layout.cores(), [3, 1, 5, 7], "from a central node on, by nearness");
    let near = |node| layout.spares_near(&four, NodeId(node)).iter().map(|cpu| cpu.0).collect::<Vec<_>>();
    assert_eq!((near(0), near(3)), (vec![0, 2, 4, 6], vec![6, 4, 2, 0]), "spares by nearness");
    let few = plan(&four, &LayoutOptions { shards: Some(2), ..LayoutOptions::default() }).unwrap();
    let spares: Vec<u32> = few.spares.iter().map(|spare| spare.cpu.0).collect();
    assert_eq!(spares, [5, 7, 0, 2, 4, 6], "first places that nobody took");
    let all = plan(&four, &LayoutOptions { shards: Some(8), ..LayoutOptions::default() }).unwrap();
    assert!(all.spares.is_empty());
    assert!(all.service.is_empty() && !all.shared_cores && !all.notes.is_empty());
    assert_eq!(all.cores().into_iter().collect::<BTreeSet<_>>().len(), 8);
    let none = LayoutOptions { service_cores: 0, ..LayoutOptions::default() };
    assert_eq!(plan(&four, &none).unwrap().cores(), [2, 3, 0, 1, 4, 5, 6, 7]);
    let too_many = plan(&four, &LayoutOptions { shards: Some(9), ..LayoutOptions::default() }).unwrap();
    assert!(too_many.shared_cores && too_many.notes.iter().any(|note| note.contains("share")));
}

#[test]
fn hardware_threads_are_places_on_request_only() {
    let threads = topology("smt");
    let free = |smt| LayoutOptions { smt, service_cores: 0, ..LayoutOptions::default() };
    assert_eq!(plan(&threads, &free(false)).unwrap().cores(), [0, 2, 4, 6]);
    assert_eq!(plan(&threads, &free(true)).unwrap().cores(), [0, 1, 2, 3, 4, 5, 6, 7]);
    // The whole core is kept free, not one of its threads.
    let layout = plan(&threads, &LayoutOptions { smt: true, ..LayoutOptions::default() }).unwrap();
    assert_eq!((layout.service, layout.seats.len()), (cpus([0, 1, 4, 5]), 4));
}

#[test]
fn few_shards_sit_close_together() {
    let eight = topology("8n");
    let layout = plan(&eight, &LayoutOptions { shards: Some(3), ..LayoutOptions::default() }).unwrap();
    assert!(layout.seats.iter().all(|seat| seat.node == layout.seats[0].node));
    // The most central node has no memory: it is the last one that is used.
    let one = LayoutOptions { shards: Some(1), ..LayoutOptions::default() };
    assert_ne!(plan(&topology("memless"), &one).unwrap().seats[0].node, NodeId(1));
    let spread = LayoutOptions { shards: Some(3), shards_per_node: Some(1), ..LayoutOptions::default() };
    let nodes: BTreeSet<NodeId> = plan(&eight, &spread).unwrap().seats.iter().map(|seat| seat.node).collect();
    assert_eq!(nodes.len(), 3);
    let four = topology("4n");
    let costs = CostMatrix::of(&four, &plan(&four, &LayoutOptions::default()).unwrap());
    assert_eq!(
        (costs.tenths(0, 0), costs.tenths(0, 1), costs.tenths(0, 2), costs.tenths(2, 3)),
        (0, 12, 20, 12)
    );
    assert!(!costs.is_even());
}

#[test]
fn strict_binding_is_given_up_where_a_node_lacks_the_memory() {
    let four = topology("4n");
    let layout = plan(&four, &LayoutOptions { service_cores: 0, ..LayoutOptions::default() }).unwrap();
    // Two shards a node: 2 MiB each are too much for 7 MiB free, of which half counts.
    let free = |node: NodeId| if node == NodeId(2) { 7 << 20 } else { 8 << 20 };
    let crowded = RegionPlan::crowded(&layout, 2 << 20, free);
    assert_eq!(crowded, [NodeId(2)].into());
    let sizes = RegionSizes { inbox: 2 << 20, outputs: 1, spans: None, arena: 1, overlay: 1, base: 1 };
    for region in RegionPlan::of(&layout, &sizes, &crowded) {
        let strict = matches!(region.placing, Placing::Only(_));
        let home = region.shard.map(|shard| layout.seats[shard.index()].memory);
        assert_eq!(strict, region.kind == RegionKind::Inbox && home != Some(NodeId(2)), "{region:?}");
    }
}

#[test]
fn what_cannot_be_had_is_refused_with_its_name() {
    let mut four = topology("4n");
    let refuse =
        |topology: &Topology, options: LayoutOptions| plan(topology, &options).unwrap_err().to_string();
    let default = LayoutOptions::default;
    assert!(
        refuse(&four, LayoutOptions { cores: Some(cpus([9])), ..default() }).contains("CPU 9 does not exist")
    );
    assert!(
        refuse(&four, LayoutOptions { nodes: Some([NodeId(7)].into()), ..default() })
            .contains("node 7 does not")
    );
    assert!(
        refuse(&topology("cpuless"), LayoutOptions { nodes: Some([NodeId(2)].into()), ..default() })
            .contains("node 2 has no CPU")
    );
    assert!(refuse(&four, LayoutOptions { exclude_cores: cpus(0..8), ..default() }).contains("leave no CPU"));
    assert!(
        refuse(&four, LayoutOptions { shards: Some(5), shards_per_node: Some(1), ..default() })
            .contains("leaves 4 places")
    );
    four.offline = cpus([7]);
    four.cpus.pop();
    assert!(refuse(&four, LayoutOptions { cores: Some(cpus([7])), ..default() }).contains("is offline"));
    let narrow = Allowance { cpus: cpus([1]), ..Allowance::everything(&four) };
    let error = Layout::plan(&four, &narrow, &LayoutOptions { cores: Some(cpus([2])), ..default() });
    assert!(error.unwrap_err().to_string().contains("not allowed"));
}

#[test]
fn a_quota_smaller_than_the_pinned_shards_is_refused_and_an_automatic_number_fits_it() {
    let four = topology("4n");
    let tight = Allowance { quota_cpus: Some(2.5), ..Allowance::everything(&four) };
    let asked = LayoutOptions { shards: Some(3), ..LayoutOptions::default() };
    let error = Layout::plan(&four, &tight, &asked).unwrap_err();
    assert!(matches!(error, TopologyError::QuotaTooSmall { cores: 3, .. }), "{error}");
    let auto = Layout::plan(&four, &tight, &LayoutOptions::default()).unwrap();
    assert_eq!(auto.seats.len(), 2);
    assert!(auto.notes.iter().any(|note| note.contains("cpu.max")));
}

/// A tree as text: what the random hosts are written down as.
fn tree_of(host: &RandomHost) -> SysTree {
    let mut text = String::new();
    let mut line =
        |path: String, value: String| writeln!(text, "/sys/devices/system/{path}\t{value}").unwrap();
    let online = host.cpus.iter().filter(|(_, cpu)| cpu.online).map(|(&id, _)| id);
    line("cpu/online".to_owned(), format_list(online).replace("none", ""));
    if host.has_nodes {
        line("node/online".to_owned(), format_list(host.nodes.keys().copied()));
        for (&id, node) in &host.nodes {
            let own = host.cpus.iter().filter(|(_, cpu)| cpu.claims.contains(&id)).map(|(&cpu, _)| cpu);
            line(format!("node/node{id}/cpulist"), format_list(own).replace("none", ""));
            line(
                format!("node/node{id}/meminfo"),
                format!("Node {id} MemTotal: {} kB\\nNode {id} MemFree: 9 kB", node.kib),
            );
            let row: Vec<String> = node.row.iter().map(u32::to_string).collect();
            line(format!("node/node{id}/distance"), row.join(" "));
        }
    }
    for (&id, cpu) in &host.cpus {
        line(format!("cpu/cpu{id}/topology/physical_package_id"), "0".to_owned());
        if let Some(sibling) = cpu.sibling {
            line(
                format!("cpu/cpu{id}/topology/core_cpus_list"),
                format_list([id.min(sibling), id.max(sibling)]),
            );
        }
    }
    SysTree::from_dump(&text)
}

#[derive(Clone, Debug)]
struct RandomCpu {
    online: bool,
    /// Nodes that list it; several on broken hosts, none on others.
    claims: BTreeSet<u32>,
    sibling: Option<u32>,
}

#[derive(Clone, Debug)]
struct RandomNode {
    kib: u64,
    /// Its distances; too few or too many on broken hosts.
    row: Vec<u32>,
}

#[derive(Clone, Debug)]
struct RandomHost {
    has_nodes: bool,
    nodes: BTreeMap<u32, RandomNode>,
    cpus: BTreeMap<u32, RandomCpu>,
}

prop_compose! {
    /// Sparse node numbers, nodes without memory or CPUs, short rows, CPUs claimed twice or by nobody, CPUs offline, pairs of
    /// threads with near or far numbers, and hosts without nodes.
    fn random_host()(
        ids in prop::collection::btree_set(0_u32..1024, 1..7),
        count in 1_u32..40,
        threads in 0_u32..3,
        has_nodes in prop::bool::weighted(0.9),
        random in prop::collection::vec((any::<u32>(), any::<u32>(), any::<u32>()), 48),
    ) -> RandomHost {
        let ids: Vec<u32> = ids.into_iter().collect();
        let pick = |place: u32| ids[place as usize % ids.len()];
        let nodes = ids.iter().zip(&random).map(|(&id, &(memory, rows, seed))| {
            let length = match rows % 5 { 0 => rows as usize % (ids.len() + 2), _ => ids.len() };
            let row = (0..length).map(|to| 10 + (seed.rotate_left(u32::try_from(to).unwrap()) % 30)).collect();
            (id, RandomNode { kib: if memory % 4 == 0 { 0 } else { 1 << 20 }, row })
        });
        let cpus = (0..count).zip(random.iter().cycle()).map(|(id, &(first, second, offline))| {
            let mut claims = BTreeSet::new();
            if first % 16 != 0 { claims.insert(pick(first)); }
            if second % 16 == 0 { claims.insert(pick(second)); }
            let sibling = match threads {
                0 => None,
                1 => Some(id ^ 1),
                _ => Some((id + count / 2) % (count / 2 * 2).max(1)),
            };
            let sibling = sibling.filter(|&sibling| sibling < count && count % 2 == 0 && sibling != id);
            (id, RandomCpu { online: id == 0 || offline % 5 != 0, claims, sibling })
        });
        RandomHost { has_nodes, nodes: nodes.collect(), cpus: cpus.collect() }
    }
}

/// Everything that must hold of a layout, whatever the host.
fn check(topology: &Topology, allowance: &Allowance, options: &LayoutOptions, layout: &Layout) {
    let mut used = BTreeSet::new();
    for seat in &layout.seats {
        let cpu = topology.cpu(seat.cpu).expect("a shard is on a CPU that is online");
        assert!(!topology.offline.contains(&seat.cpu));
        assert!(allowance.cpus.contains(&seat.cpu), "{seat:?} is not allowed");
        assert!(!options.exclude_cores.contains(&seat.cpu));
        assert_eq!(cpu.node, seat.node);
        assert!(topology.cpus_of(seat.node).next().is_some(), "no shard on a node without CPUs");
        let place = if options.smt { seat.cpu } else { cpu.core };
        assert!(used.insert(place) || layout.shared_cores, "two shards on one core: {:?}", layout.seats);
        let some_memory = topology.nodes.iter().any(|node| node.memory_bytes > 0);
        let has_memory = topology.node(seat.memory).is_some_and(|node| node.memory_bytes > 0);
        assert!(has_memory || !some_memory, "memory comes from a node that has some");
        assert!(layout.spread.contains(&seat.memory));
    }
    if options.shards.is_none() {
        assert!(!layout.shared_cores, "nobody asked for shared cores");
    }
    assert!(!layout.seats.is_empty());
    assert_eq!(options.shards.unwrap_or(layout.seats.len()), layout.seats.len());
    assert!(layout.seats.iter().all(|seat| !layout.service.contains(&seat.cpu)));
    let taken: BTreeSet<CpuId> =
        layout.seats.iter().map(|seat| topology.cpu(seat.cpu).unwrap().core).collect();
    let mut spares = BTreeSet::new();
    for spare in &layout.spares {
        let cpu = topology.cpu(spare.cpu).expect("a spare is online");
        assert!(allowance.cpus.contains(&spare.cpu) && !options.exclude_cores.contains(&spare.cpu));
        assert!(!taken.contains(&cpu.core), "a spare core is nobody's: {spare:?}");
        assert!(spares.insert(cpu.core), "and counted once: {:?}", layout.spares);
    }
    let sizes = RegionSizes { inbox: 1 << 20, outputs: 1, spans: Some(1), arena: 1, overlay: 1, base: 1 };
    let plans = RegionPlan::of(layout, &sizes, &BTreeSet::new());
    assert_eq!(plans.len(), 5 + 3 * layout.seats.len());
    for plan in plans.iter().filter(|plan| plan.kind == RegionKind::Inbox) {
        let owner = plan.shard.unwrap();
        assert!(plan.placing.allows(layout.seats[owner.index()].memory), "rings lie at the consumer");
    }
}

proptest! {
    #[test]
    fn a_random_host_is_read_as_it_was_written(host in random_host()) {
        let topology = Topology::read(&tree_of(&host)).unwrap();
        let online: Vec<u32> = host.cpus.iter().filter(|(_, cpu)| cpu.online).map(|(&id, _)| id).collect();
        prop_assert_eq!(topology.cpus.iter().map(|cpu| cpu.id.0).collect::<Vec<_>>(), online);
        prop_assert_eq!(topology.offline.len(), host.cpus.len() - topology.cpus.len());
        let first = host.nodes.keys().next().copied().unwrap();
        for cpu in &topology.cpus {
            let claims = &host.cpus[&cpu.id.0].claims;
            let owner = if host.has_nodes { claims.first().copied().unwrap_or(first) } else { 0 };
            prop_assert_eq!(cpu.node, NodeId(owner));
        }
        if host.has_nodes {
            let ids: Vec<u32> = topology.nodes.iter().map(|node| node.id.0).collect();
            prop_assert_eq!(ids, host.nodes.keys().copied().collect::<Vec<_>>());
        }
        let broken = host.cpus.values().any(|cpu| cpu.online && cpu.claims.len() != 1)
            || host.nodes.values().any(|node| node.row.len() != host.nodes.len());
        prop_assert_eq!(!topology.notes.is_empty(), broken || !host.has_nodes, "{:?}", topology.notes);
    }

    #[test]
    fn no_shard_is_ever_where_it_must_not_be(
        host in random_host(),
        allowed in prop::collection::btree_set(0_u32..40, 0..40),
        excluded in prop::collection::btree_set(0_u32..40, 0..4),
        shards in prop::option::of(1_usize..50),
        smt in any::<bool>(),
        service_cores in 0_usize..3,
    ) {
        let topology = Topology::read(&tree_of(&host)).unwrap();
        let allowance = Allowance { cpus: cpus(allowed), ..Allowance::everything(&topology) };
        let options =
            LayoutOptions { shards, exclude_cores: cpus(excluded), smt, service_cores, ..LayoutOptions::default() };
        match Layout::plan(&topology, &allowance, &options) {
            Ok(layout) => {
                check(&topology, &allowance, &options, &layout);
                prop_assert_eq!(&layout, &Layout::plan(&topology, &allowance, &options).unwrap());
            }
            Err(error) => {
                let left = topology.cpus.iter().any(|cpu| {
                    allowance.cpus.contains(&cpu.id) && !options.exclude_cores.contains(&cpu.id)
                });
                prop_assert!(!left, "{error}");
            }
        }
    }
}

#[test]
fn a_host_that_makes_no_sense_is_an_error_that_names_the_file() {
    let read = |text: &str| Topology::read(&SysTree::from_dump(text)).unwrap_err().to_string();
    assert!(read("").contains("no CPU"));
    assert!(read("/sys/devices/system/cpu/online\t0-x\n").contains("cpu/online"));
    let far = "/sys/devices/system/cpu/online\t0\n/sys/devices/system/node/online\t0,1024\n";
    assert!(read(far).contains("node 1024"));
}

#[test]
fn distances_that_a_row_lacks_come_from_the_other_node_or_are_assumed() {
    let mut text = String::from(
        "/sys/devices/system/cpu/online\t0-2\n/sys/devices/system/node/online\t0,5,1023\n\
         /sys/devices/system/node/node0/distance\t10 12\n/sys/devices/system/node/node5/distance\t3 10 17\n",
    );
    for (cpu, node) in [(0, 0), (1, 5), (2, 1023)] {
        writeln!(text, "/sys/devices/system/node/node{node}/cpulist\t{cpu}").unwrap();
    }
    let topology = Topology::read(&SysTree::from_dump(&text)).unwrap();
    let far = |from, to| topology.distance(NodeId(from), NodeId(to));
    assert_eq!((far(0, 5), far(5, 1023), far(1023, 1023)), (12, 17, 10));
    assert_eq!((far(1023, 5), far(5, 0)), (17, 12), "as the other node tells; 3 is no distance");
    assert_eq!((far(0, 1023), far(1023, 0)), (20, 20), "nobody tells");
    assert!(topology.notes.iter().any(|note| note.contains("node 0 names 2 distances for 3 nodes")));
}

/// One node of eight cores, with a last-level cache for the even ones and one for the odd ones.
fn two_caches() -> Topology {
    let mut text = String::from("/sys/devices/system/cpu/online\t0-7\n");
    for cpu in 0..8 {
        let folder = format!("/sys/devices/system/cpu/cpu{cpu}");
        let shared = if cpu % 2 == 0 { "0,2,4,6" } else { "1,3,5,7" };
        // The deepest cache counts, in whatever order they stand.
        for (index, level, peers) in
            [(0, 1, cpu.to_string()), (1, 3, shared.to_owned()), (2, 2, cpu.to_string())]
        {
            writeln!(text, "{folder}/cache/index{index}/level\t{level}").unwrap();
            writeln!(text, "{folder}/cache/index{index}/shared_cpu_list\t{peers}").unwrap();
        }
        writeln!(text, "{folder}/topology/core_cpus_list\t{cpu}").unwrap();
    }
    Topology::read(&SysTree::from_dump(&text)).unwrap()
}

#[test]
fn a_last_level_cache_is_filled_before_the_next() {
    let topology = two_caches();
    let free = LayoutOptions { service_cores: 0, ..LayoutOptions::default() };
    let layout = plan(&topology, &free).unwrap();
    assert_eq!(layout.cores(), [0, 2, 4, 6, 1, 3, 5, 7]);
    let costs = CostMatrix::of(&topology, &layout);
    assert_eq!((costs.tenths(0, 3), costs.tenths(3, 4)), (7, 10), "a value within one cache costs less");
    assert_eq!(plan(&topology, &LayoutOptions::default()).unwrap().cores(), [2, 4, 6, 1, 3, 5, 7]);
}

#[test]
fn cores_that_say_that_they_can_do_less_come_last() {
    let mut text = String::from("/sys/devices/system/cpu/online\t0-3\n");
    for (cpu, capacity) in [(0, 446), (1, 446), (2, 1024), (3, 1024)] {
        writeln!(text, "/sys/devices/system/cpu/cpu{cpu}/cpu_capacity\t{capacity}").unwrap();
    }
    let topology = Topology::read(&SysTree::from_dump(&text)).unwrap();
    let free = LayoutOptions { service_cores: 0, ..LayoutOptions::default() };
    assert_eq!(plan(&topology, &free).unwrap().cores(), [2, 3, 0, 1]);
}

#[test]
fn slow_cores_come_last() {
    let mut text = String::from("/sys/devices/system/cpu/online\t0-7\n/sys/devices/cpu_atom/cpus\t0-3\n");
    for cpu in 0..8 {
        writeln!(text, "/sys/devices/system/cpu/cpu{cpu}/topology/core_cpus_list\t{cpu}").unwrap();
    }
    let topology = Topology::read(&SysTree::from_dump(&text)).unwrap();
    let options = LayoutOptions { shards: Some(5), service_cores: 0, ..LayoutOptions::default() };
    let layout = plan(&topology, &options).unwrap();
    assert_eq!(layout.cores(), [4, 5, 6, 7, 0]);
    assert!(layout.notes.iter().any(|note| note.contains("slower")));
}
