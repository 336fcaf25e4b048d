# The verdict on one FluxConfig: `deny` holds the ids of the rules that it breaks.
#
# In front of this text stands where `config` (the object) comes from, which differs between the programs, and `settings`
# (policies and clusters). Patterns are sorted by kind beforehand: repositories named in full, prefixes for those that end in
# `**`, globs for those with `*` between. That spares most of the work that a loop over patterns would be.

deny contains "invalid-url" if {
	config.kind == "FluxConfig"
	not regex.match(`^(https?|oci|ssh)://([a-z]+@)?[a-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9_.][A-Za-z0-9_.-]*)+$`, url)
}

deny contains "invalid-url" if regex.match(`/\.\.?(/|$)`, url)

deny contains "unknown-cluster" if {
	config.kind == "FluxConfig"
	not cluster in settings.clusters
}

deny contains "destination-not-allowed" if {
	cluster in settings.clusters
	not destination_allowed
}

deny contains "source-denied" if source_denied

deny contains "source-not-allowed" if {
	destination_allowed
	not source_denied
	not source_allowed
}

deny contains "interval-too-short" if {
	destination_allowed
	interval := time.parse_duration_ns(config.spec.interval)
	some i in applying
	interval < time.parse_duration_ns(policies[i].minInterval)
}

policies := settings.policies

tenant := config.metadata.namespace

url := config.spec.source.url

# A final `.git` means nothing.
repository := trim_suffix(url, ".git")

kind := "oci" if startswith(url, "oci://") else := "git"

# Policies that select the tenant and are for every cluster, by index: they decide where the FluxConfig goes.
everywhere contains i if {
	some i
	not policies[i].clusters
	named(policies[i].tenants[_], tenant)
}

# Policies that count in that place.
applying contains i if some i in everywhere

applying contains i if {
	some i
	named(policies[i].clusters[_], cluster)
	named(policies[i].tenants[_], tenant)
}

cluster := config.spec.cluster if config.spec.cluster

else := policies[i].defaults.cluster if {
	some i in everywhere
	policies[i].defaults.cluster
}

namespace := config.spec.namespace if config.spec.namespace

else := expand(policies[i].defaults.namespace) if {
	some i in everywhere
	policies[i].defaults.namespace
}

destination_allowed if {
	cluster in settings.clusters
	some i in everywhere
	some destination in policies[i].destinations
	named(destination.clusters[_], cluster)
	named(expand(destination.namespaces[_]), namespace)
}

source_denied if {
	destination_allowed
	some i in applying
	matches(policies[i].sources[kind].deny)
}

source_allowed if {
	some i in applying
	matches(policies[i].sources[kind].allow)
}

matches(patterns) if repository in patterns.named

matches(patterns) if startswith(repository, expand(patterns.prefixes[_]))

matches(patterns) if glob.match(patterns.globs[_], ["/"], repository)

# In names `*` at the end is any run of characters.
named(pattern, name) if pattern == name

named(pattern, name) if {
	endswith(pattern, "*")
	startswith(name, trim_suffix(pattern, "*"))
}

expand(pattern) := replace(pattern, "${tenant}", tenant)
