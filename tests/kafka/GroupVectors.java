import com.google.re2j.Pattern;
import com.google.re2j.PatternSyntaxException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.coordinator.common.runtime.CoordinatorMetadataDelta;
import org.apache.kafka.coordinator.common.runtime.CoordinatorMetadataImage;
import org.apache.kafka.coordinator.group.Utils;
import org.apache.kafka.coordinator.group.api.assignor.ConsumerGroupPartitionAssignor;
import org.apache.kafka.coordinator.group.api.assignor.GroupAssignment;
import org.apache.kafka.coordinator.group.api.assignor.SubscribedTopicDescriber;
import org.apache.kafka.coordinator.group.api.assignor.SubscriptionType;
import org.apache.kafka.coordinator.group.assignor.RangeAssignor;
import org.apache.kafka.coordinator.group.assignor.UniformAssignor;
import org.apache.kafka.coordinator.group.modern.Assignment;
import org.apache.kafka.coordinator.group.modern.GroupSpecImpl;
import org.apache.kafka.coordinator.group.modern.MemberSubscriptionAndAssignmentImpl;

/**
 * What Apache Kafka's own classes say about consumer groups, for tests/vectors/group-4.4.txt:
 *
 *   java -cp "$(tests/kafka/setup)/*" tests/kafka/GroupVectors.java > tests/vectors/group-4.4.txt
 *
 *   assign NAME                   then, until `end`:
 *   member ID INSTANCE|- TOPICS   in order; indexes of topics, or -
 *   topic BEFORE AFTER            owner of each partition: index of a member, or -1
 *   topic-hash NAME ID RACKS HASH RACKS: partitions by |, racks by comma, - for none
 *   group-hash HASH               of the topics above it since the last one
 *   regex PATTERN ok|refused NAMES   which of the names given by `names` match; tabs between, for patterns have spaces
 */
public class GroupVectors {
    private static final Random random = new Random(848);

    private static Uuid topicId(int index) {
        return new Uuid(0, index + 1); // small, so that hash sets iterate in this order
    }

    /** Members as maps want them, in order; owners.get(t)[p] is an index of members or -1. */
    private static void assign(ConsumerGroupPartitionAssignor assignor, List<String> ids, List<String> instances,
                               List<Set<Integer>> topics, List<int[]> owners) {
        Map<String, MemberSubscriptionAndAssignmentImpl> members = new LinkedHashMap<>();
        Map<Uuid, Map<Integer, String>> inverted = new LinkedHashMap<>();
        boolean same = true;
        for (int m = 0; m < ids.size(); m++) {
            Set<Uuid> subscribed = new java.util.LinkedHashSet<>();
            for (int t : topics.get(m)) {
                subscribed.add(topicId(t));
            }
            same &= topics.get(m).equals(topics.get(0));
            Map<Uuid, Set<Integer>> held = new LinkedHashMap<>();
            for (int t = 0; t < owners.size(); t++) {
                for (int p = 0; p < owners.get(t).length; p++) {
                    if (owners.get(t)[p] == m) {
                        held.computeIfAbsent(topicId(t), k -> new TreeSet<>()).add(p);
                        inverted.computeIfAbsent(topicId(t), k -> new LinkedHashMap<>()).put(p, ids.get(m));
                    }
                }
            }
            members.put(ids.get(m), new MemberSubscriptionAndAssignmentImpl(Optional.empty(),
                Optional.ofNullable(instances.get(m)), subscribed, new Assignment(Collections.unmodifiableMap(held))));
        }
        GroupAssignment result = assignor.assign(
            new GroupSpecImpl(members, same ? SubscriptionType.HOMOGENEOUS : SubscriptionType.HETEROGENEOUS, inverted),
            new SubscribedTopicDescriber() {
                @Override
                public int numPartitions(Uuid id) {
                    return owners.get((int) id.getLeastSignificantBits() - 1).length;
                }

                @Override
                public Set<String> racksForPartition(Uuid id, int partition) {
                    return Set.of();
                }
            });
        System.out.println("assign " + assignor.name());
        for (int m = 0; m < ids.size(); m++) {
            System.out.println("member " + ids.get(m) + " " + (instances.get(m) == null ? "-" : instances.get(m)) + " "
                + list(topics.get(m)));
        }
        for (int t = 0; t < owners.size(); t++) {
            List<Integer> before = new ArrayList<>();
            List<Integer> after = new ArrayList<>();
            for (int owner : owners.get(t)) {
                before.add(owner);
                after.add(-1);
            }
            for (int m = 0; m < ids.size(); m++) {
                var assigned = result.members().get(ids.get(m));
                if (assigned != null) {
                    for (int p : assigned.partitions().getOrDefault(topicId(t), Set.of())) {
                        after.set(p, m);
                    }
                }
            }
            System.out.println("topic " + list(before) + " " + list(after));
        }
        System.out.println("end");
    }

    private static String list(Collection<Integer> numbers) {
        StringBuilder text = new StringBuilder();
        for (int n : numbers) {
            text.append(text.length() == 0 ? "" : ",").append(n);
        }
        return text.length() == 0 ? "-" : text.toString();
    }

    /** Held by nobody, by whoever subscribes, or by anybody, as after members came, went and changed their minds. */
    private static int[] owners(int topic, int partitions, List<Set<Integer>> topics, int mood) {
        int[] owners = new int[partitions];
        int favourite = random.nextInt(topics.size());
        for (int p = 0; p < partitions; p++) {
            owners[p] = mood == 0 || random.nextInt(8) == 0 ? -1
                : mood == 1 ? random.nextInt(topics.size()) : mood == 2 ? favourite : p % topics.size();
        }
        return owners;
    }

    private static void assignments(ConsumerGroupPartitionAssignor assignor, int count) {
        for (int n = 0; n < count; n++) {
            int memberCount = 1 + random.nextInt(7);
            int topicCount = 1 + random.nextInt(5);
            boolean same = random.nextBoolean();
            boolean equal = random.nextInt(3) == 0;
            int partitions = 1 + random.nextInt(12);
            List<String> ids = new ArrayList<>();
            List<String> instances = new ArrayList<>();
            List<Set<Integer>> topics = new ArrayList<>();
            List<int[]> owners = new ArrayList<>();
            for (int m = 0; m < memberCount; m++) {
                ids.add("member-" + m);
                instances.add(random.nextInt(3) == 0 ? "instance-" + (9 - m) : null);
                Set<Integer> mine = new TreeSet<>();
                for (int t = 0; t < topicCount; t++) {
                    if (random.nextInt(4) > 0) {
                        mine.add(t);
                    }
                }
                topics.add(same && m > 0 ? topics.get(0) : mine);
            }
            int mood = random.nextInt(4);
            for (int t = 0; t < topicCount; t++) {
                owners.add(owners(t, equal ? partitions : 1 + random.nextInt(12), topics, mood));
            }
            assign(assignor, ids, instances, topics, owners);
        }
    }

    private record Topic(String name, Uuid id, List<List<String>> racks) implements CoordinatorMetadataImage.TopicMetadata {
        @Override
        public int partitionCount() {
            return racks.size();
        }

        @Override
        public List<String> partitionRacks(int partition) {
            return new ArrayList<>(racks.get(partition));
        }
    }

    private record Image(Map<String, Topic> topics) implements CoordinatorMetadataImage {
        @Override
        public Set<Uuid> topicIds() {
            return Set.of();
        }

        @Override
        public Set<String> topicNames() {
            return topics.keySet();
        }

        @Override
        public Optional<TopicMetadata> topicMetadata(String name) {
            return Optional.ofNullable(topics.get(name));
        }

        @Override
        public Optional<TopicMetadata> topicMetadata(Uuid id) {
            return Optional.empty();
        }

        @Override
        public CoordinatorMetadataDelta emptyDelta() {
            return null;
        }

        @Override
        public long version() {
            return 0;
        }

        @Override
        public boolean isEmpty() {
            return topics.isEmpty();
        }
    }

    private static void hashes() {
        List<List<Topic>> groups = List.of(
            List.of(new Topic("orders", new Uuid(0x123456789abcdefL, 0xfedcba987654321L), List.of(List.of(), List.of(), List.of()))),
            List.of(new Topic("b", new Uuid(-1, -2), List.of(List.of("rack-b", "rack-a"), List.of("rack-c"))),
                new Topic("a.long-name_with.everything-0123456789", new Uuid(5, 6), List.of(List.of("eu-west-1a", "eu-west-1b", "eu-west-1c")))),
            List.of(new Topic("wide", new Uuid(7, -8), Collections.nCopies(100, List.of("r1", "r2", "r3")))));
        for (List<Topic> group : groups) {
            Map<String, Topic> topics = new LinkedHashMap<>();
            group.forEach(t -> topics.put(t.name(), t));
            Map<String, Long> hashes = new LinkedHashMap<>();
            for (Topic t : group) {
                long hash = Utils.computeTopicHash(t.name(), new Image(topics));
                hashes.put(t.name(), hash);
                StringBuilder racks = new StringBuilder();
                for (List<String> of : t.racks()) {
                    racks.append(racks.length() == 0 ? "" : "|").append(of.isEmpty() ? "-" : String.join(",", of));
                }
                System.out.println("topic-hash " + t.name() + " " + t.id() + " " + racks + " " + hash);
            }
            System.out.println("group-hash " + Utils.computeGroupHash(hashes));
        }
    }

    private static final String[] NAMES = {"orders", "orders-eu", "orders.us", "ORDERS", "payments", "a", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "abababab", "topic-1", "topic-22", "_private", "x{2}", "__consumer_offsets", "a.b", "a-b", "0"};

    private static final String[] PATTERNS = {"orders", "orders.*", "orders(-eu|\\.us)?", "(?i)orders", "(?i:ORD)ers", "^orders$", "order", ".*", ".+",
        "[a-z]+", "[^a-z]+", "topic-[0-9]+", "topic-\\d{2}", "topic-\\d{1,}", "\\w+", "\\W*", "[[:alpha:]]+", "[[:^alpha:]]+", "[[:nope:]]+",
        "(a+)+b", "(a|a)*b", "(a|aa)+", "(.*)*x", "(a?){30}a{30}", "((a*)*)*", "a.b", "a\\.b", "a\\-b", "\\Qa.b\\E", "\\Qa.b", "\\p{L}+", "\\pN", "\\p{Nope}",
        "(?P<name>a)", "(?<name>a)", "(?P<na-me>a)", "(?P<name", "(a)\\1", "\\0", "\\060", "\\101", "\\x61", "\\x{61}", "\\x{zz}", "\\x", "\\8", "(?=a)a", "(?!b)a", "(?<=a)b",
        "(?<!a)b", "(?>a+)b", "a++", "a**", "a*+", "a?+", "a*?", "a+?", "a??", "a{2}{3}", "a{2}*", "a{2}?", "a{2}+", "a{1001}", "a{2,1}", "a{,3}", "a{", "x{2}", "x\\{2}",
        "{2}", "*a", "+", "?", "(*)", "a|*", "|a", "a|", "()", "(|a)", "(", ")", "a)", "(a", "[", "[a", "[]a]+", "[^]a]", "[a-", "[a-]+", "[z-a]", "[a-\\d]", "[\\d.-]+", "[\\w-]+",
        "\\", "a\\", "\\A\\w+\\z", "\\b\\w+\\b", "\\B", "\\Z", "\\G", "\\K", "\\R", "\\X", "\\h", "\\N", "\\C", "\\e", "\\cA", "\\g1", "\\k<name>", "\\o{61}", "\\u0061", "(?R)", "(?1)", "(?#c)a", "(?x) a",
        "(?m)^a$", "(?s).", "(?U)a+", "(?-i)a", "(?i-s)A", "(?z)a", "(?", "(?i", "(*UTF8)a", "(*ACCEPT)a", "a(?C1)b", "(?|a|b)", "(?(1)a|b)", "[[.a.]]", "[[=a=]]", "\\_private", "\\a", "\\v",
        "^*a", "a$", "$", "(^a$)*", "[a-z&&[^b]]+", "a#b", "a b", "\u00e9+", "[\u00e9a]+", "(a{10}){10}", "(a{100}){100}", "((a{100}){10}){100}", "[[:alpha:]a-z_.]+"};

    private static void regexes() {
        System.out.println("names\t" + String.join("\t", NAMES));
        for (String pattern : PATTERNS) {
            StringBuilder line = new StringBuilder("regex\t").append(pattern);
            try {
                Pattern compiled = Pattern.compile(pattern);
                line.append("\tok");
                for (String name : NAMES) {
                    if (compiled.matcher(name).matches()) {
                        line.append('\t').append(name);
                    }
                }
            } catch (PatternSyntaxException e) {
                line.append("\trefused");
            }
            System.out.println(line);
        }
    }

    public static void main(String[] args) {
        assignments(new UniformAssignor(), 300);
        assignments(new RangeAssignor(), 100);
        hashes();
        regexes();
    }
}
