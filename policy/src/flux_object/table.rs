//! The table: every field of every Flux kind, with what it may be. `guard::fields` of the e2e suites compares it with the CRDs
//! of the release that they run.

use super::{Decision, Field, Judgement, Kind, MayBe, RECONCILER, Refused, Spec};

/// Every kind that somebody has looked at. Others are refused.
pub const KINDS: &[Kind] = &[
    kind("source.toolkit.fluxcd.io", "GitRepository", GIT_REPOSITORY),
    kind("source.toolkit.fluxcd.io", "OCIRepository", OCI_REPOSITORY),
    kind("source.toolkit.fluxcd.io", "HelmRepository", HELM_REPOSITORY),
    kind("source.toolkit.fluxcd.io", "HelmChart", HELM_CHART),
    kind("source.toolkit.fluxcd.io", "Bucket", BUCKET),
    refused(
        "source.toolkit.fluxcd.io",
        "ExternalArtifact",
        "nobody knows where the content of this artifact comes from",
        "deploy its source with a FluxConfig of its own",
    ),
    kind("kustomize.toolkit.fluxcd.io", "Kustomization", KUSTOMIZATION),
    kind("helm.toolkit.fluxcd.io", "HelmRelease", HELM_RELEASE),
    kind("image.toolkit.fluxcd.io", "ImageRepository", IMAGE_REPOSITORY),
    kind("image.toolkit.fluxcd.io", "ImagePolicy", IMAGE_POLICY),
    // It pushes with the credential of the GitRepository that it names, to the branch that was checked out where it names no
    // other.
    refused(
        "image.toolkit.fluxcd.io",
        "ImageUpdateAutomation",
        "what is pushed where is said by a FluxConfig, and by nothing else",
        "use spec.imageUpdates of the FluxConfig",
    ),
    kind("notification.toolkit.fluxcd.io", "Provider", PROVIDER),
    kind("notification.toolkit.fluxcd.io", "Alert", ALERT),
    kind("notification.toolkit.fluxcd.io", "Receiver", RECEIVER),
];

const fn kind(group: &'static str, name: &'static str, fields: &'static [Field]) -> Kind {
    Kind { group, name, spec: Spec::Fields(fields) }
}

const fn refused(group: &'static str, name: &'static str, message: &'static str, help: &'static str) -> Kind {
    Kind { group, name, spec: Spec::Refused(Refused { message, help }) }
}

/// A field that reaches nothing by itself, whatever it says.
const fn free(name: &'static str) -> Field {
    Field { name, decision: Decision::Free }
}

const fn object(name: &'static str, fields: &'static [Field]) -> Field {
    Field { name, decision: Decision::Object(fields) }
}

const fn list(name: &'static str, fields: &'static [Field]) -> Field {
    Field { name, decision: Decision::List(fields) }
}

const fn judged(name: &'static str, judgement: Judgement) -> Field {
    Field { name, decision: Decision::Judged(judgement) }
}

const fn may_be(may_be: MayBe, message: &'static str, help: &'static str) -> Judgement {
    Judgement { may_be, message, help }
}

const fn absent(message: &'static str, help: &'static str) -> Judgement {
    may_be(MayBe::Absent, message, help)
}

const ACCOUNT_MESSAGE: &str = "the agent impersonates the tenant's reconciler and nobody else";
const CHANNEL: &str = "events go to channels that policy offers";
const NOTIFY: &str = "use spec.notify of the FluxConfig";
const SECRET: &str = "the agent reads this Secret with its own rights, not the team's";
const KEYS: &str = "the agent reads these keys with its own rights, not the team's";
const LEFT_OUT: &str = "what of a source is left out is said in the source, where it is reviewed";

const PROXY: Judgement = absent("a proxy sees and sends everything, credentials included", "remove proxySecretRef");
const AUTHORITY: Judgement =
    absent("own certificate authorities make any server look like an allowed one", "remove certSecretRef");
/// A Secret of a source may hold a certificate authority or known hosts beside the password.
const CREDENTIAL: Judgement = absent(
    "the agent reads this Secret with its own rights, and believes the certificate authorities and known hosts in it",
    "remove secretRef, and set spec.source.secretRef of a FluxConfig",
);
const CLOUD: Judgement = may_be(
    MayBe::Text("generic"),
    "a cloud provider's identity is the platform's, not the team's",
    "remove provider, or write generic",
);
const PLAIN: Judgement = absent("plain http can be read and changed on the way", "remove insecure");
const IGNORE: Judgement = absent(LEFT_OUT, "remove ignore, and write a .sourceignore to the source");
const ACCESS: Judgement = absent("what a team syncs is not offered to other namespaces", "remove accessFrom");
const NO_ACCOUNT: Judgement = absent(ACCOUNT_MESSAGE, "remove serviceAccountName");
const ACCOUNT: Judgement =
    may_be(MayBe::Text(RECONCILER), ACCOUNT_MESSAGE, "remove serviceAccountName, or write sluicegate-reconciler");
const CLUSTER: Judgement = absent(
    "another cluster is reached by a FluxConfig that names it, and by nothing else",
    "remove kubeConfig, and set spec.cluster of the FluxConfig",
);
const TARGET: Judgement = may_be(
    MayBe::OwnNamespace,
    "another namespace is reached by a FluxConfig that names it, and by nothing else",
    "write the object's own namespace, or set spec.namespace of a FluxConfig",
);
const BESIDE: Judgement = may_be(
    MayBe::OwnNamespace,
    "a source in another namespace is another team's",
    "remove namespace: the source is beside the object",
);
const AWAITED: Judgement = may_be(
    MayBe::OwnNamespace,
    "what is in another namespace is not this team's to wait for",
    "remove namespace, or write the object's own",
);
const LABELS: Judgement = may_be(
    MayBe::TeamLabels,
    "these labels and annotations say what is Sluicegate's, and Sluicegate writes them",
    "remove the key; only sluicegate.dev/agent=<the object's own namespace> may stand here",
);
const CONFIG_MAP_KIND: Judgement =
    may_be(MayBe::Text("ConfigMap"), SECRET, "mount the Secret in the pod instead, or encrypt the value with SOPS");
const OWN_CONFIG_MAP: Judgement = may_be(
    MayBe::NotPlatform,
    "names that begin with sluicegate- are the platform's copies",
    "name a ConfigMap of the team",
);
const VERIFY_KEYS: Judgement = absent(KEYS, "remove the reference, and set spec.source.verify of a FluxConfig");

/// A reference to something in the same namespace.
const REFERENCE: &[Field] = &[free("apiVersion"), free("kind"), free("name"), judged("namespace", BESIDE)];
const DEPENDENCY: &[Field] = &[free("name"), judged("namespace", AWAITED), free("readyExpr")];
const HEALTH_EXPRESSION: &[Field] =
    &[free("apiVersion"), free("current"), free("failed"), free("inProgress"), free("kind")];
const METADATA: &[Field] = &[judged("annotations", LABELS), judged("labels", LABELS)];
/// Which of the delivered objects something is about. They are applied with the reconciler's rights, whichever it is.
const SELECTED: &[Field] = &[
    free("annotationSelector"),
    free("group"),
    free("kind"),
    free("labelSelector"),
    free("name"),
    free("namespace"),
    free("version"),
];
const DRIFT: &[Field] = &[free("paths"), object("target", SELECTED)];
/// What runs is judged where it runs: these change objects before they are applied.
const IMAGE: &[Field] = &[free("digest"), free("name"), free("newName"), free("newTag")];
const PATCH: &[Field] = &[free("patch"), object("target", SELECTED)];
/// Signatures with an identity instead of a key: nothing is read for them.
const KEYLESS: Field = list("matchOIDCIdentity", &[free("issuer"), free("subject")]);

const GIT_REPOSITORY: &[Field] = &[
    judged("ignore", IGNORE),
    judged(
        "include",
        absent(
            "included repositories come along unchecked",
            "remove include, and use one FluxConfig for each repository",
        ),
    ),
    free("interval"),
    judged("provider", CLOUD),
    judged("proxySecretRef", PROXY),
    judged(
        "recurseSubmodules",
        absent("submodules come from repositories that nobody checked", "remove recurseSubmodules"),
    ),
    object(
        "ref",
        &[
            free("branch"),
            free("commit"),
            judged(
                "name",
                may_be(
                    MayBe::BranchOrTag,
                    "requests to merge and other references are not branches or tags: people who may not write to the repository make them",
                    "name a branch (refs/heads/...) or a tag (refs/tags/...)",
                ),
            ),
            free("semver"),
            free("tag"),
        ],
    ),
    judged("secretRef", CREDENTIAL),
    judged("serviceAccountName", NO_ACCOUNT),
    judged("sparseCheckout", absent(LEFT_OUT, "remove sparseCheckout, and write a .sourceignore to the source")),
    free("suspend"),
    free("timeout"),
    // The lists of policies judge it.
    free("url"),
    judged("verify", absent(KEYS, "remove verify, and set spec.source.verify of a FluxConfig")),
];

const OCI_REPOSITORY: &[Field] = &[
    judged("certSecretRef", AUTHORITY),
    judged("ignore", IGNORE),
    judged("insecure", PLAIN),
    free("interval"),
    object("layerSelector", &[free("mediaType"), free("operation")]),
    judged("provider", CLOUD),
    judged("proxySecretRef", PROXY),
    object("ref", &[free("digest"), free("semver"), free("semverFilter"), free("tag")]),
    judged("secretRef", CREDENTIAL),
    judged("serviceAccountName", NO_ACCOUNT),
    free("suspend"),
    free("timeout"),
    // The lists of policies judge it.
    free("url"),
    object(
        "verify",
        &[KEYLESS, free("provider"), judged("secretRef", VERIFY_KEYS), judged("trustedRootSecretRef", VERIFY_KEYS)],
    ),
];

const HELM_REPOSITORY: &[Field] = &[
    judged("accessFrom", ACCESS),
    judged("certSecretRef", AUTHORITY),
    judged("insecure", PLAIN),
    free("interval"),
    judged(
        "passCredentials",
        absent("credentials would go to every host that the index names", "remove passCredentials"),
    ),
    judged("provider", CLOUD),
    judged("secretRef", CREDENTIAL),
    free("suspend"),
    free("timeout"),
    free("type"),
    // The lists of policies judge it.
    free("url"),
];

const HELM_CHART: &[Field] = &[
    free("chart"),
    free("ignoreMissingValuesFiles"),
    free("interval"),
    free("reconcileStrategy"),
    object("sourceRef", &[free("apiVersion"), free("kind"), free("name")]),
    free("suspend"),
    free("valuesFiles"),
    object("verify", &[KEYLESS, free("provider"), judged("secretRef", VERIFY_KEYS)]),
    free("version"),
];

const BUCKET: &[Field] = &[
    // The lists of policies judge these two.
    free("bucketName"),
    free("endpoint"),
    judged("certSecretRef", AUTHORITY),
    judged("ignore", IGNORE),
    judged("insecure", PLAIN),
    free("interval"),
    judged("prefix", absent(LEFT_OUT, "remove prefix, and set spec.path of the Kustomization")),
    judged("provider", CLOUD),
    judged("proxySecretRef", PROXY),
    free("region"),
    judged("secretRef", CREDENTIAL),
    judged("serviceAccountName", NO_ACCOUNT),
    judged("sts", absent("another endpoint would be asked for credentials", "remove sts")),
    free("suspend"),
    free("timeout"),
];

const KUSTOMIZATION: &[Field] = &[
    free("buildMetadata"),
    object("commonMetadata", METADATA),
    judged(
        "components",
        may_be(
            MayBe::LocalPaths,
            "a kustomization of a team loads nothing from elsewhere: nobody would have checked it",
            "copy it into the repository, and write its path",
        ),
    ),
    object(
        "decryption",
        &[
            free("provider"),
            object(
                "secretRef",
                &[judged(
                    "name",
                    may_be(
                        MayBe::NotPlatform,
                        "the platform's keys decrypt what FluxConfigs deliver, and nothing else",
                        "name a Secret of the team, or set spec.decryption of a FluxConfig",
                    ),
                )],
            ),
            judged("serviceAccountName", NO_ACCOUNT),
        ],
    ),
    free("deletionPolicy"),
    list("dependsOn", DEPENDENCY),
    free("force"),
    list("healthCheckExprs", HEALTH_EXPRESSION),
    list("healthChecks", &[free("apiVersion"), free("kind"), free("name"), judged("namespace", AWAITED)]),
    list("ignore", DRIFT),
    free("ignoreMissingComponents"),
    list("images", IMAGE),
    free("interval"),
    judged("kubeConfig", CLUSTER),
    free("namePrefix"),
    free("nameSuffix"),
    list("patches", PATCH),
    // Inside the source: kustomize-controller confines it.
    free("path"),
    object(
        "postBuild",
        &[
            free("substitute"),
            list(
                "substituteFrom",
                &[judged("kind", CONFIG_MAP_KIND), judged("name", OWN_CONFIG_MAP), free("optional")],
            ),
            free("substituteStrategy"),
        ],
    ),
    free("prune"),
    free("retryInterval"),
    judged("serviceAccountName", ACCOUNT),
    object("sourceRef", REFERENCE),
    free("suspend"),
    judged("targetNamespace", TARGET),
    free("timeout"),
    free("wait"),
];

const RETRY: Field = object("strategy", &[free("name"), free("retryInterval")]);

const HELM_RELEASE: &[Field] = &[
    object(
        "chart",
        &[
            object("metadata", METADATA),
            object(
                "spec",
                &[
                    free("chart"),
                    free("ignoreMissingValuesFiles"),
                    free("interval"),
                    free("reconcileStrategy"),
                    object("sourceRef", REFERENCE),
                    free("valuesFiles"),
                    object("verify", &[free("provider"), judged("secretRef", VERIFY_KEYS)]),
                    free("version"),
                ],
            ),
        ],
    ),
    object("chartRef", REFERENCE),
    object("commonMetadata", METADATA),
    list("dependsOn", DEPENDENCY),
    object("driftDetection", &[list("ignore", DRIFT), free("mode")]),
    list("healthCheckExprs", HEALTH_EXPRESSION),
    // Helm does all of the following with the reconciler's rights.
    object(
        "install",
        &[
            free("crds"),
            free("createNamespace"),
            free("disableHooks"),
            free("disableOpenAPIValidation"),
            free("disableSchemaValidation"),
            free("disableTakeOwnership"),
            free("disableWait"),
            free("disableWaitForJobs"),
            object("remediation", &[free("ignoreTestFailures"), free("remediateLastFailure"), free("retries")]),
            free("replace"),
            free("serverSideApply"),
            free("skipCRDs"),
            RETRY,
            free("timeout"),
        ],
    ),
    free("interval"),
    judged("kubeConfig", CLUSTER),
    free("maxHistory"),
    free("persistentClient"),
    free("postRenderStrategy"),
    list("postRenderers", &[object("kustomize", &[list("images", IMAGE), list("patches", PATCH)])]),
    free("releaseName"),
    object(
        "rollback",
        &[
            free("cleanupOnFail"),
            free("disableHooks"),
            free("disableWait"),
            free("disableWaitForJobs"),
            free("force"),
            free("recreate"),
            free("serverSideApply"),
            free("timeout"),
        ],
    ),
    judged("serviceAccountName", ACCOUNT),
    judged(
        "storageNamespace",
        may_be(
            MayBe::OwnNamespace,
            "releases are stored in the target namespace",
            "remove storageNamespace, or write the object's own namespace",
        ),
    ),
    free("suspend"),
    judged("targetNamespace", TARGET),
    // Pods of a test are judged as all pods.
    object(
        "test",
        &[free("enable"), list("filters", &[free("exclude"), free("name")]), free("ignoreFailures"), free("timeout")],
    ),
    free("timeout"),
    object(
        "uninstall",
        &[free("deletionPropagation"), free("disableHooks"), free("disableWait"), free("keepHistory"), free("timeout")],
    ),
    object(
        "upgrade",
        &[
            free("chartNameChangeStrategy"),
            free("cleanupOnFail"),
            free("crds"),
            free("disableHooks"),
            free("disableOpenAPIValidation"),
            free("disableSchemaValidation"),
            free("disableTakeOwnership"),
            free("disableWait"),
            free("disableWaitForJobs"),
            free("force"),
            free("preserveValues"),
            object(
                "remediation",
                &[free("ignoreTestFailures"), free("remediateLastFailure"), free("retries"), free("strategy")],
            ),
            free("serverSideApply"),
            RETRY,
            free("timeout"),
        ],
    ),
    // The chart's, whatever they look like.
    free("values"),
    list(
        "valuesFrom",
        &[
            judged("kind", CONFIG_MAP_KIND),
            free("literal"),
            judged("name", OWN_CONFIG_MAP),
            free("optional"),
            free("targetPath"),
            free("valuesKey"),
        ],
    ),
    object("waitStrategy", &[free("name")]),
];

const IMAGE_REPOSITORY: &[Field] = &[
    judged("accessFrom", ACCESS),
    judged("certSecretRef", AUTHORITY),
    free("exclusionList"),
    // The lists of policies judge it.
    free("image"),
    judged("insecure", PLAIN),
    free("interval"),
    judged("provider", CLOUD),
    judged("proxySecretRef", PROXY),
    judged("secretRef", CREDENTIAL),
    judged("serviceAccountName", NO_ACCOUNT),
    free("suspend"),
    free("timeout"),
];

const IMAGE_POLICY: &[Field] = &[
    free("digestReflectionPolicy"),
    object("filterTags", &[free("extract"), free("pattern")]),
    object("imageRepositoryRef", &[free("name"), judged("namespace", BESIDE)]),
    free("interval"),
    object(
        "policy",
        &[
            object("alphabetical", &[free("order")]),
            object("numerical", &[free("order")]),
            object("semver", &[free("range")]),
        ],
    ),
    free("suspend"),
];

const PROVIDER: &[Field] = &[
    judged("address", absent(CHANNEL, NOTIFY)),
    judged("certSecretRef", AUTHORITY),
    // Without an address and a token nothing is sent there.
    free("channel"),
    free("commitStatusExpr"),
    free("interval"),
    judged("proxy", absent("a proxy sees and sends everything, credentials included", "remove proxy")),
    judged("proxySecretRef", PROXY),
    // A Secret may hold the address.
    judged("secretRef", absent(CHANNEL, NOTIFY)),
    judged("serviceAccountName", NO_ACCOUNT),
    free("suspend"),
    free("timeout"),
    free("type"),
    free("username"),
];

const ALERT: &[Field] = &[
    free("eventMetadata"),
    free("eventSeverity"),
    list(
        "eventSources",
        &[
            free("apiVersion"),
            free("kind"),
            free("matchLabels"),
            free("name"),
            judged(
                "namespace",
                may_be(
                    MayBe::OwnNamespace,
                    "what another team deploys is not this team's to hear of",
                    "remove namespace",
                ),
            ),
        ],
    ),
    free("exclusionList"),
    free("inclusionList"),
    object("providerRef", &[free("name")]),
    free("summary"),
    free("suspend"),
];

const RECEIVER: &[Field] = &[
    free("events"),
    free("interval"),
    judged(
        "oidcProviders",
        absent("the agent would ask a server that no policy allows for keys", "remove oidcProviders, and use a token"),
    ),
    free("resourceFilter"),
    list(
        "resources",
        &[
            free("apiVersion"),
            free("filter"),
            free("kind"),
            free("matchLabels"),
            free("name"),
            judged(
                "namespace",
                may_be(
                    MayBe::OwnNamespace,
                    "what another team deploys is not this team's to reconcile",
                    "remove namespace",
                ),
            ),
        ],
    ),
    object(
        "secretRef",
        &[judged(
            "name",
            may_be(
                MayBe::NotPlatform,
                "names that begin with sluicegate- are the platform's copies",
                "name a Secret of the team",
            ),
        )],
    ),
    free("suspend"),
    free("type"),
];
