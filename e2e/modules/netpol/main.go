// Command netpol enforces the NetworkPolicies of the test cluster's one node.
//
// The kernel hands every new connection that involves a pod to a netfilter queue (the harness installs the iptables
// rules); this program asks the policy engine of kube-network-policies for a verdict. Everything after the first
// packet passes without it. Without this program running, new connections of pods are dropped: policies fail closed.
package main

import (
	"context"
	"flag"
	"log"
	"net/netip"
	"os/signal"
	"syscall"
	"time"

	nfqueue "github.com/florianl/go-nfqueue/v2"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kube-network-policies/pkg/api"
	"sigs.k8s.io/kube-network-policies/pkg/network"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
	"sigs.k8s.io/kube-network-policies/pkg/podinfo"
)

const (
	// A pod's address is published by the kubelet up to a second after its first packet; until then nobody can say
	// which policies select it, so the packet waits.
	identityWait = 10 * time.Second
	identityPoll = 20 * time.Millisecond
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "kubeconfig of the cluster")
	nodeName := flag.String("node", "", "name of this node")
	queue := flag.Uint("queue", 100, "number of the netfilter queue")
	podCIDR := flag.String("pod-cidr", "", "addresses of pods")
	flag.Parse()
	if err := run(*kubeconfig, *nodeName, uint16(*queue), *podCIDR); err != nil {
		log.Fatal(err)
	}
}

func run(kubeconfig, nodeName string, queue uint16, podCIDR string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	pods, err := netip.ParsePrefix(podCIDR)
	if err != nil {
		return err
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}

	factory := informers.NewSharedInformerFactory(client, 0)
	podInformer := factory.Core().V1().Pods()
	namespaceInformer := factory.Core().V1().Namespaces()
	policyInformer := factory.Networking().V1().NetworkPolicies()
	policies := policyInformer.Lister()
	resolver, err := podinfo.NewInformerResolver(podInformer.Informer())
	if err != nil {
		return err
	}
	identities := podinfo.NewInformerProvider(podInformer, namespaceInformer, nil, []podinfo.IPResolver{resolver})
	engine := networkpolicy.NewPolicyEngine(identities, []api.PolicyEvaluator{
		networkpolicy.NewStandardNetworkPolicy(nodeName, namespaceInformer, podInformer, policyInformer),
	})
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())

	queued, err := nfqueue.Open(&nfqueue.Config{
		NfQueue:      queue,
		MaxQueueLen:  4096,
		MaxPacketLen: 512,
		Copymode:     nfqueue.NfQnlCopyPacket,
		WriteTimeout: time.Second,
	})
	if err != nil {
		return err
	}
	defer queued.Close()

	known := func(address string) bool {
		ip, err := netip.ParseAddr(address)
		if err != nil || !pods.Contains(ip) {
			return true
		}
		_, found := identities.GetPodInfoByIP(address)
		return found
	}
	decide := func(id uint32, packet network.Packet) {
		deadline := time.Now().Add(identityWait)
		for !known(packet.SrcIP.String()) || !known(packet.DstIP.String()) {
			// Where no policy exists, none can select the pod.
			if all, err := policies.List(labels.Everything()); err == nil && len(all) == 0 {
				break
			}
			if time.Now().After(deadline) || ctx.Err() != nil {
				log.Printf("dropped: no pod known behind %s -> %s", packet.SrcIP, packet.DstIP)
				_ = queued.SetVerdict(id, nfqueue.NfDrop)
				return
			}
			time.Sleep(identityPoll)
		}
		allowed, err := engine.EvaluatePacket(ctx, &packet)
		verdict := nfqueue.NfDrop
		if err == nil && allowed {
			verdict = nfqueue.NfAccept
		} else {
			log.Printf("denied: %s:%d -> %s:%d %s", packet.SrcIP, packet.SrcPort, packet.DstIP, packet.DstPort, packet.Proto)
		}
		_ = queued.SetVerdict(id, verdict)
	}
	receive := func(a nfqueue.Attribute) int {
		if a.PacketID == nil {
			return 0
		}
		if a.Payload == nil {
			_ = queued.SetVerdict(*a.PacketID, nfqueue.NfDrop)
			return 0
		}
		packet, err := network.ParsePacket(*a.Payload)
		if err != nil {
			_ = queued.SetVerdict(*a.PacketID, nfqueue.NfDrop)
			return 0
		}
		packet.ID = *a.PacketID
		if known(packet.SrcIP.String()) && known(packet.DstIP.String()) {
			decide(*a.PacketID, packet)
		} else {
			go decide(*a.PacketID, packet)
		}
		return 0
	}
	err = queued.RegisterWithErrorFunc(ctx, receive, func(err error) int {
		if ctx.Err() != nil {
			return 1
		}
		log.Printf("queue: %v", err)
		return 0
	})
	if err != nil {
		return err
	}
	log.Print("enforcing")
	<-ctx.Done()
	return nil
}
