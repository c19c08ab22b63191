package interop;

import io.netty.bootstrap.Bootstrap;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import io.netty.channel.Channel;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.MultiThreadIoEventLoopGroup;
import io.netty.channel.nio.NioIoHandler;
import io.netty.channel.socket.ChannelInputShutdownReadComplete;
import io.netty.channel.socket.nio.NioDatagramChannel;
import io.netty.handler.codec.quic.QuicChannel;
import io.netty.handler.codec.quic.QuicClientCodecBuilder;
import io.netty.handler.codec.quic.QuicSslContext;
import io.netty.handler.codec.quic.QuicSslContextBuilder;
import io.netty.handler.codec.quic.QuicStreamChannel;
import io.netty.handler.codec.quic.QuicStreamType;
import io.netty.handler.codec.quic.SslEarlyDataReadyEvent;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Random;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/**
 * Uses a server that returns what comes on each stream, with quiche. Usage: QuicheClient HOST PORT CA
 * (streams|datagrams|early)... It prints "ok" and what it has checked, or "FAIL".
 */
public final class QuicheClient {
    private static final int WAIT = 60;

    private final MultiThreadIoEventLoopGroup group = new MultiThreadIoEventLoopGroup(1, NioIoHandler.newFactory());
    private final InetSocketAddress server;
    private final QuicSslContext tls;

    private QuicheClient(InetSocketAddress server, File ca) {
        this.server = server;
        tls = QuicSslContextBuilder.forClient().trustManager(ca).applicationProtocols("mqtt").earlyData(true).build();
    }

    public static void main(String[] args) throws Exception {
        var c = new QuicheClient(new InetSocketAddress(args[0], Integer.parseInt(args[1])), new File(args[2]));
        for (String what : Arrays.asList(args).subList(3, args.length)) {
            try {
                switch (what) {
                    case "streams" -> c.streams();
                    case "datagrams" -> c.datagrams();
                    case "early" -> c.early();
                    default -> throw new IllegalArgumentException(what);
                }
                System.out.println("ok " + what);
            } catch (Throwable e) {
                System.out.println("FAIL " + what + ": " + e);
                System.exit(1);
            }
        }
        System.exit(0);
    }

    /** Connects. The handler sees what comes on the connection itself. */
    private QuicChannel connect(ChannelInboundHandlerAdapter handler) throws Exception {
        var codec = new QuicClientCodecBuilder()
                .sslEngineProvider(q -> tls.newEngine(q.alloc(), "localhost", server.getPort()))
                .maxIdleTimeout(60, TimeUnit.SECONDS)
                .initialMaxData(10_000_000)
                .initialMaxStreamDataBidirectionalLocal(1_000_000)
                .initialMaxStreamDataBidirectionalRemote(1_000_000)
                .activeConnectionIdLimit(8)
                .datagram(100, 100)
                .build();
        Channel udp = new Bootstrap().group(group).channel(NioDatagramChannel.class).handler(codec).bind(0).sync().channel();
        return QuicChannel.newBootstrap(udp).handler(handler).streamHandler(new ChannelInboundHandlerAdapter())
                .remoteAddress(server).connect().get(WAIT, TimeUnit.SECONDS);
    }

    /** Writes to a new stream, ends it and returns what comes until its end. */
    private static CompletableFuture<byte[]> send(QuicChannel c, byte[] data) {
        var done = new CompletableFuture<byte[]>();
        c.createStream(QuicStreamType.BIDIRECTIONAL, new ChannelInboundHandlerAdapter() {
            private final ByteArrayOutputStream got = new ByteArrayOutputStream();

            @Override
            public void channelActive(ChannelHandlerContext ctx) {
                ctx.writeAndFlush(Unpooled.wrappedBuffer(data)).addListener(QuicStreamChannel.SHUTDOWN_OUTPUT);
            }

            @Override
            public void channelRead(ChannelHandlerContext ctx, Object msg) throws Exception {
                var b = (ByteBuf) msg;
                b.readBytes(got, b.readableBytes());
                b.release();
            }

            @Override
            public void userEventTriggered(ChannelHandlerContext ctx, Object event) {
                if (event == ChannelInputShutdownReadComplete.INSTANCE) {
                    done.complete(got.toByteArray());
                }
            }

            @Override
            public void channelInactive(ChannelHandlerContext ctx) {
                done.completeExceptionally(new IllegalStateException("closed after " + got.size() + " bytes"));
            }

            @Override
            public void exceptionCaught(ChannelHandlerContext ctx, Throwable e) {
                done.completeExceptionally(e);
            }
        });
        return done;
    }

    private static void check(boolean ok, String what) {
        if (!ok) {
            throw new AssertionError(what);
        }
    }

    private static byte[] noise(int n) {
        var b = new byte[n];
        new Random(n).nextBytes(b);
        return b;
    }

    private void streams() throws Exception {
        var c = connect(new ChannelInboundHandlerAdapter());
        check(c.sslEngine().getApplicationProtocol().equals("mqtt"), "the protocol is " + c.sslEngine().getApplicationProtocol());
        var large = noise(2_000_000);
        check(Arrays.equals(large, send(c, large).get(WAIT, TimeUnit.SECONDS)), "the large one came back changed");
        var answers = new ArrayList<CompletableFuture<byte[]>>();
        for (int i = 0; i < 30; i++) {
            answers.add(send(c, noise(1 + 3000 * i)));
        }
        for (int i = 0; i < 30; i++) {
            check(Arrays.equals(noise(1 + 3000 * i), answers.get(i).get(WAIT, TimeUnit.SECONDS)), "stream " + i);
        }
        c.close().sync();
    }

    private void datagrams() throws Exception {
        BlockingQueue<String> got = new ArrayBlockingQueue<>(100);
        var c = connect(new ChannelInboundHandlerAdapter() {
            @Override
            public void channelRead(ChannelHandlerContext ctx, Object msg) {
                var b = (ByteBuf) msg;
                got.add(b.toString(java.nio.charset.StandardCharsets.UTF_8));
                b.release();
            }
        });
        send(c, new byte[1]).get(WAIT, TimeUnit.SECONDS); // the server learns of the connection
        for (int i = 0; i < 10; i++) {
            c.writeAndFlush(Unpooled.copiedBuffer("datagram " + i, java.nio.charset.StandardCharsets.UTF_8)).sync();
            var s = got.poll(WAIT, TimeUnit.SECONDS);
            check(("datagram " + i).equals(s), "got " + s);
        }
        c.close().sync();
    }

    /** Connects twice; the second time it does not wait for the handshake. */
    private void early() throws Exception {
        var first = connect(new ChannelInboundHandlerAdapter());
        send(first, new byte[1]).get(WAIT, TimeUnit.SECONDS);
        send(first, new byte[2]).get(WAIT, TimeUnit.SECONDS); // the ticket comes before the answer
        first.close().sync();
        var answer = new CompletableFuture<byte[]>();
        var second = connect(new ChannelInboundHandlerAdapter() {
            @Override
            public void userEventTriggered(ChannelHandlerContext ctx, Object event) {
                if (event instanceof SslEarlyDataReadyEvent) {
                    send((QuicChannel) ctx.channel(), "early".getBytes()).thenAccept(answer::complete);
                }
            }
        });
        check(Arrays.equals("early".getBytes(), answer.get(WAIT, TimeUnit.SECONDS)), "the early data came back changed");
        second.close().sync();
    }
}
