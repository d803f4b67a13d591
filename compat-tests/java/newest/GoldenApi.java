import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.Field;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

import org.apache.rocketmq.auth.config.AuthConfig;
import org.apache.rocketmq.broker.out.BrokerOuterAPI;
import org.apache.rocketmq.client.ClientConfig;
import org.apache.rocketmq.client.consumer.AckCallback;
import org.apache.rocketmq.client.consumer.AckResult;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PopCallback;
import org.apache.rocketmq.client.consumer.PopResult;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.impl.MQClientAPIImpl;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.TopicConfig;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.lite.LiteSubscriptionAction;
import org.apache.rocketmq.common.lite.LiteSubscriptionDTO;
import org.apache.rocketmq.common.lite.OffsetOption;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.CommandCustomHeader;
import org.apache.rocketmq.remoting.netty.NettyClientConfig;
import org.apache.rocketmq.remoting.protocol.DataVersion;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.RequestCode;
import org.apache.rocketmq.remoting.protocol.body.LiteSubscriptionCtlRequestBody;
import org.apache.rocketmq.remoting.protocol.header.AckMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.ChangeInvisibleTimeRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.LiteSubscriptionCtlRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.NotificationRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.PeekMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.PollingInfoRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.PopLiteMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.PopMessageRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.SearchOffsetRequestHeader;
import org.apache.rocketmq.remoting.protocol.header.UpdateGroupForbiddenRequestHeader;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;

/**
 * Requests that the classes of 5.5.0 make and that neither a client's ordinary calls nor mqadmin lead to, to
 * have their frames recorded. A line of standard input names one, with the broker's address behind it; a line
 * of standard output, with "@" in front, tells that it is done.
 */
public final class GoldenApi {
    private static final String TOPIC = "GoldenTopic";
    private static final String GROUP = "golden_api";
    private static final String LITE_TOPIC = "GoldenLite";
    private static final String LITE_GROUP = "golden_lite";
    private static final String CLUSTER = "DefaultCluster";
    private static final String BROKER = "broker-a";
    private static final long TIMEOUT = 20_000;
    private static final int INT_TIMEOUT = 20_000;

    private static String namesrv;
    private static String broker;
    private static DefaultMQProducer producer;
    private static DefaultMQPushConsumer consumer;
    private static BrokerOuterAPI outer;
    private static MQClientAPIImpl api;
    private static SendResult last;

    public static void main(String[] args) throws Exception {
        namesrv = args[0];
        // Libraries print to standard output as well: results get their own stream.
        PrintStream out = System.out;
        System.setOut(System.err);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String result = "ok";
            try {
                String[] words = line.trim().split(" ");
                broker = words[1];
                run(words[0]);
            } catch (Throwable error) {
                error.printStackTrace();
                result = error.toString().replace('\n', ' ');
            }
            out.println("@" + result);
            out.flush();
        }
        Runtime.getRuntime().halt(0);
    }

    private static void run(String call) throws Exception {
        switch (call) {
            case "begin":
                begin();
                return;
            case "create-topics":
                api.createTopicList(broker, Arrays.asList(new TopicConfig("GoldenListed", 1, 1)), TIMEOUT);
                return;
            case "create-groups":
                SubscriptionGroupConfig listed = new SubscriptionGroupConfig();
                listed.setGroupName("golden_listed");
                api.createSubscriptionGroupList(broker, Collections.singletonList(listed), TIMEOUT);
                return;
            case "get-group":
                api.getSubscriptionGroupConfig(broker, "golden_listed", TIMEOUT);
                return;
            case "forbid-group":
                UpdateGroupForbiddenRequestHeader forbid = new UpdateGroupForbiddenRequestHeader();
                forbid.setGroup("golden_listed");
                forbid.setTopic(TOPIC);
                forbid.setReadable(false);
                api.updateAndGetGroupForbidden(broker, forbid, TIMEOUT);
                return;
            case "kv-list":
                api.putKVConfigValue("golden_api", "k", "v", TIMEOUT);
                api.getKVListByNamespace("golden_api", TIMEOUT);
                return;
            case "topic-lists":
                api.getTopicsByCluster(CLUSTER, TIMEOUT);
                api.getSystemTopicList(TIMEOUT);
                api.getUnitTopicList(true, TIMEOUT);
                api.getHasUnitSubTopicList(true, TIMEOUT);
                api.getHasUnitSubUnUnitTopicList(true, TIMEOUT);
                return;
            case "consumer-status":
                api.invokeBrokerToGetConsumerStatus(broker, TOPIC, GROUP, "", TIMEOUT);
                return;
            case "group-queries":
                api.queryConsumeTimeSpan(broker, TOPIC, GROUP, TIMEOUT);
                api.queryTopicsByConsumer(broker, GROUP, TIMEOUT);
                api.querySubscriptionByConsumer(broker, GROUP, TOPIC, TIMEOUT);
                return;
            case "offsets-of-groups":
                api.queryCorrectionOffset(broker, TOPIC, GROUP, Collections.singleton("golden_other"), TIMEOUT);
                api.cloneGroupOffset(broker, GROUP, "golden_clone", TOPIC, true, TIMEOUT);
                return;
            case "check-half-message":
                api.resumeCheckHalfMessage(broker, TOPIC, last.getOffsetMsgId(), TIMEOUT);
                return;
            case "first-version":
                firstVersion();
                return;
            case "recall":
                Message later = new Message(TOPIC, "later".getBytes(StandardCharsets.UTF_8));
                later.setDelayTimeSec(600);
                producer.recallMessage(TOPIC, producer.send(later).getRecallHandle());
                return;
            case "cold-data":
                Properties thresholds = new Properties();
                thresholds.put(GROUP, "1048576");
                api.updateColdDataFlowCtrGroupConfig(broker, thresholds, TIMEOUT);
                api.removeColdDataFlowCtrGroupConfig(broker, GROUP, TIMEOUT);
                api.setCommitLogReadAheadMode(broker, "1", TIMEOUT);
                return;
            case "timer":
                outer.getTimerCheckPoint(broker);
                outer.getTimerMetrics(broker);
                return;
            case "register-topic":
                outer.registerSingleTopicAll(BROKER, new TopicConfig("GoldenSingle", 1, 1), INT_TIMEOUT);
                TimeUnit.SECONDS.sleep(1);
                return;
            case "member-group":
                outer.getBrokerMemberGroup(CLUSTER, BROKER);
                return;
            case "heartbeat":
                outer.sendHeartbeat(CLUSTER, broker, BROKER, 0L, INT_TIMEOUT, false);
                outer.sendHeartbeatViaDataVersion(CLUSTER, broker, BROKER, 0L, INT_TIMEOUT, new DataVersion(), false);
                TimeUnit.SECONDS.sleep(1);
                return;
            case "peek":
                PeekMessageRequestHeader peek = new PeekMessageRequestHeader();
                peek.setConsumerGroup("golden_peek");
                peek.setTopic(TOPIC);
                peek.setQueueId(0);
                peek.setMaxMsgNums(2);
                ask(RequestCode.PEEK_MESSAGE, peek);
                return;
            case "notification":
                NotificationRequestHeader notification = new NotificationRequestHeader();
                notification.setConsumerGroup("golden_peek");
                notification.setTopic(TOPIC);
                notification.setQueueId(0);
                notification.setPollTime(1_000);
                notification.setBornTime(System.currentTimeMillis());
                ask(RequestCode.NOTIFICATION, notification);
                return;
            case "polling":
                PollingInfoRequestHeader polling = new PollingInfoRequestHeader();
                polling.setConsumerGroup("golden_peek");
                polling.setTopic(TOPIC);
                polling.setQueueId(0);
                ask(RequestCode.POLLING_INFO, polling);
                return;
            case "batch-ack":
                batchAck();
                return;
            case "lite":
                lite();
                return;
            case "end":
                consumer.shutdown();
                producer.shutdown();
                outer.shutdown();
                return;
            default:
                throw new IllegalArgumentException(call);
        }
    }

    /** No address of this machine, and everything periodic often. */
    private static void setUp(ClientConfig client, String name) {
        client.setNamesrvAddr(namesrv);
        client.setClientIP("127.0.0.1");
        client.setInstanceName(name);
        client.setPollNameServerInterval(500);
        client.setHeartbeatBrokerInterval(500);
        client.setPersistConsumerOffsetInterval(500);
    }

    private static void begin() throws Exception {
        producer = new DefaultMQProducer("golden_api_producer");
        setUp(producer, "api_producer");
        producer.setSendMsgTimeout(INT_TIMEOUT);
        producer.start();
        api = producer.getDefaultMQProducerImpl().getMqClientFactory().getMQClientAPIImpl();
        for (int count = 0; count < 4; count++) {
            last = producer.send(new Message(TOPIC, ("m" + count).getBytes(StandardCharsets.UTF_8)));
        }
        consumer = new DefaultMQPushConsumer(GROUP);
        setUp(consumer, "api_consumer");
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.subscribe(TOPIC, "*");
        consumer.registerMessageListener(
            (MessageListenerConcurrently) (messages, context) -> ConsumeConcurrentlyStatus.CONSUME_SUCCESS);
        consumer.start();
        outer = new BrokerOuterAPI(new NettyClientConfig(), new AuthConfig());
        outer.updateNameServerAddressList(namesrv);
        outer.start();
        TimeUnit.SECONDS.sleep(3);
    }

    private static RemotingCommand ask(int code, CommandCustomHeader header) throws Exception {
        RemotingCommand request = RemotingCommand.createRequestCommand(code, header);
        return api.getRemotingClient().invokeSync(broker, request, TIMEOUT);
    }

    /** Sends and answers with the long names of the header's fields, as clients do that are told to. */
    private static void firstVersion() throws Exception {
        Field isShort = MQClientAPIImpl.class.getDeclaredField("sendSmartMsg");
        isShort.setAccessible(true);
        isShort.set(null, false);
        try {
            producer.send(new Message(TOPIC, "long names".getBytes(StandardCharsets.UTF_8)));
            Message reply = new Message(CLUSTER + "_REPLY_TOPIC", "reply".getBytes(StandardCharsets.UTF_8));
            MessageAccessor.putProperty(reply, MessageConst.PROPERTY_MESSAGE_TYPE, "reply");
            MessageAccessor.putProperty(reply, MessageConst.PROPERTY_CORRELATION_ID, "golden");
            MessageAccessor.putProperty(reply, MessageConst.PROPERTY_MESSAGE_REPLY_TO_CLIENT, consumer.buildMQClientId());
            MessageAccessor.putProperty(reply, MessageConst.PROPERTY_MESSAGE_TTL, "3000");
            producer.send(reply);
        } finally {
            isShort.set(null, true);
        }
    }

    private static void batchAck() throws Exception {
        PopMessageRequestHeader pop = new PopMessageRequestHeader();
        pop.setConsumerGroup("golden_batch_ack");
        pop.setTopic(TOPIC);
        pop.setQueueId(-1);
        pop.setMaxMsgNums(8);
        pop.setInvisibleTime(60_000);
        pop.setPollTime(5_000);
        pop.setBornTime(System.currentTimeMillis());
        // From the first message on.
        pop.setInitMode(0);
        CompletableFuture<PopResult> popped = new CompletableFuture<>();
        api.popMessageAsync(BROKER, broker, pop, TIMEOUT, new PopCallback() {
            @Override
            public void onSuccess(PopResult result) {
                popped.complete(result);
            }

            @Override
            public void onException(Throwable error) {
                popped.completeExceptionally(error);
            }
        });
        List<String> receipts = new ArrayList<>();
        for (MessageExt message : popped.get(TIMEOUT, TimeUnit.MILLISECONDS).getMsgFoundList()) {
            receipts.add(message.getProperty(MessageConst.PROPERTY_POP_CK));
        }
        CompletableFuture<AckResult> acked = new CompletableFuture<>();
        api.batchAckMessageAsync(broker, TIMEOUT, new AckCallback() {
            @Override
            public void onSuccess(AckResult result) {
                acked.complete(result);
            }

            @Override
            public void onException(Throwable error) {
                acked.completeExceptionally(error);
            }
        }, TOPIC, "golden_batch_ack", receipts);
        acked.get(TIMEOUT, TimeUnit.MILLISECONDS);
    }

    /** Two clients of a group after each other subscribe a lite topic that is for one at a time. */
    private static void lite() throws Exception {
        TopicConfig topic = new TopicConfig(LITE_TOPIC, 1, 1);
        topic.getAttributes().put("+message.type", "LITE");
        topic.getAttributes().put("+lite.topic.expiration", "60");
        api.createTopic(broker, "TBW102", topic, TIMEOUT);
        SubscriptionGroupConfig group = new SubscriptionGroupConfig();
        group.setGroupName(LITE_GROUP);
        group.getAttributes().put("+lite.bind.topic", LITE_TOPIC);
        group.getAttributes().put("+lite.sub.model", "Exclusive");
        api.createSubscriptionGroup(broker, group, TIMEOUT);
        TimeUnit.SECONDS.sleep(2);
        for (int count = 0; count < 2; count++) {
            Message message = new Message(LITE_TOPIC, ("lite" + count).getBytes(StandardCharsets.UTF_8));
            MessageAccessor.setLiteTopic(message, "one");
            producer.send(message);
        }
        subscribeLite("golden_client_a");
        subscribeLite("golden_client_b");
        PopLiteMessageRequestHeader pop = new PopLiteMessageRequestHeader();
        pop.setClientId("golden_client_b");
        pop.setConsumerGroup(LITE_GROUP);
        pop.setTopic(LITE_TOPIC);
        pop.setMaxMsgNum(8);
        pop.setInvisibleTime(60_000);
        pop.setPollTime(5_000);
        pop.setBornTime(System.currentTimeMillis());
        pop.setAttemptId("golden");
        RemotingCommand popped = ask(RequestCode.POP_LITE_MESSAGE, pop);
        String receipt = "0 " + popped.getExtFields().get("popTime") + " 60000 999 0 " + BROKER + " 0 ";
        ChangeInvisibleTimeRequestHeader change = new ChangeInvisibleTimeRequestHeader();
        change.setConsumerGroup(LITE_GROUP);
        change.setTopic(LITE_TOPIC);
        change.setLiteTopic("one");
        change.setQueueId(0);
        change.setExtraInfo(receipt + "1");
        change.setOffset(1L);
        change.setInvisibleTime(30_000L);
        change.setSuspend(true);
        ask(RequestCode.CHANGE_MESSAGE_INVISIBLETIME, change);
        AckMessageRequestHeader ack = new AckMessageRequestHeader();
        ack.setConsumerGroup(LITE_GROUP);
        ack.setTopic(LITE_TOPIC);
        ack.setLiteTopic("one");
        ack.setQueueId(0);
        ack.setExtraInfo(receipt + "0");
        ack.setOffset(0L);
        ask(RequestCode.ACK_MESSAGE, ack);
        SearchOffsetRequestHeader search = new SearchOffsetRequestHeader();
        search.setTopic(LITE_TOPIC);
        search.setLiteTopic("one");
        search.setQueueId(0);
        search.setTimestamp(0L);
        ask(RequestCode.SEARCH_OFFSET_BY_TIMESTAMP, search);
        api.getBrokerLiteInfo(broker, TIMEOUT);
        api.getParentTopicInfo(broker, LITE_TOPIC, TIMEOUT);
        api.getLiteTopicInfo(broker, LITE_TOPIC, "one", TIMEOUT);
        api.getLiteTopicInfo(broker, LITE_TOPIC, "none", TIMEOUT);
        api.getLiteClientInfo(broker, LITE_TOPIC, LITE_GROUP, "golden_client_b", TIMEOUT);
        api.getLiteClientInfo(broker, LITE_TOPIC, LITE_GROUP, "golden_nobody", TIMEOUT);
        api.getLiteGroupInfo(broker, LITE_GROUP, "one", 0, TIMEOUT);
        api.getLiteGroupInfo(broker, LITE_GROUP, "none", 0, TIMEOUT);
        api.getLiteGroupInfo(broker, LITE_GROUP, null, 20, TIMEOUT);
        api.triggerLiteDispatch(broker, LITE_GROUP, "golden_client_b", TIMEOUT);
        api.triggerLiteDispatch(broker, LITE_GROUP, null, TIMEOUT);
    }

    private static void subscribeLite(String clientId) throws Exception {
        LiteSubscriptionDTO subscription = new LiteSubscriptionDTO()
            .setAction(LiteSubscriptionAction.PARTIAL_ADD)
            .setClientId(clientId)
            .setGroup(LITE_GROUP)
            .setTopic(LITE_TOPIC)
            .setLiteTopicSet(Collections.singleton("one"));
        subscription.setOffsetOption(new OffsetOption(OffsetOption.Type.POLICY, OffsetOption.POLICY_MIN_VALUE));
        LiteSubscriptionCtlRequestBody body = new LiteSubscriptionCtlRequestBody();
        body.setSubscriptionSet(Collections.singleton(subscription));
        RemotingCommand request =
            RemotingCommand.createRequestCommand(RequestCode.LITE_SUBSCRIPTION_CTL, new LiteSubscriptionCtlRequestHeader());
        request.setBody(body.encode());
        api.getRemotingClient().invokeSync(broker, request, TIMEOUT);
    }
}
