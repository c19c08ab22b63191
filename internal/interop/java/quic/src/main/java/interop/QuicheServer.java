package interop;

import io.netty.bootstrap.Bootstrap;
import io.netty.buffer.ByteBuf;
import io.netty.channel.Channel;
import io.netty.channel.ChannelHandler;
import io.netty.channel.ChannelHandlerContext;
import io.netty.channel.ChannelInboundHandlerAdapter;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.MultiThreadIoEventLoopGroup;
import io.netty.channel.nio.NioIoHandler;
import io.netty.channel.socket.nio.NioDatagramChannel;
import io.netty.handler.codec.quic.InsecureQuicTokenHandler;
import io.netty.handler.codec.quic.QuicPathEvent;
import io.netty.handler.codec.quic.QuicServerCodecBuilder;
import io.netty.handler.codec.quic.QuicSslContext;
import io.netty.handler.codec.quic.QuicSslContextBuilder;
import io.netty.handler.codec.quic.QuicStreamChannel;
import java.io.File;
import java.net.InetSocketAddress;
import java.util.List;
import java.util.concurrent.TimeUnit;

/**
 * Returns what comes on each stream and in each datagram, with quiche. Usage: QuicheServer HOST PORT KEY CERT [retry]. It prints
 * "ready", and what happens to the paths of a connection.
 */
public final class QuicheServer {
    public static void main(String[] args) throws Exception {
        var group = new MultiThreadIoEventLoopGroup(1, NioIoHandler.newFactory());
        QuicSslContext tls = QuicSslContextBuilder.forServer(new File(args[2]), null, new File(args[3]))
                .applicationProtocols("mqtt").earlyData(true).build();
        var codec = new QuicServerCodecBuilder()
                .sslContext(tls)
                .maxIdleTimeout(60, TimeUnit.SECONDS)
                .initialMaxData(10_000_000)
                .initialMaxStreamDataBidirectionalLocal(1_000_000)
                .initialMaxStreamDataBidirectionalRemote(1_000_000)
                .initialMaxStreamsBidirectional(100)
                .activeConnectionIdLimit(8)
                .activeMigration(true)
                .datagram(100, 100)
                .handler(new Connection())
                .streamHandler(new ChannelInitializer<QuicStreamChannel>() {
                    @Override
                    protected void initChannel(QuicStreamChannel c) {
                        c.config().setReadFrames(true).setAllowHalfClosure(true);
                        c.pipeline().addLast(new Echo());
                    }
                });
        if (List.of(args).contains("retry")) {
            codec.tokenHandler(InsecureQuicTokenHandler.INSTANCE);
        }
        Channel c = new Bootstrap().group(group).channel(NioDatagramChannel.class).handler(codec.build())
                .bind(new InetSocketAddress(args[0], Integer.parseInt(args[1]))).sync().channel();
        System.out.println("ready");
        c.closeFuture().await();
    }

    /** Returns datagrams. */
    @ChannelHandler.Sharable
    private static final class Connection extends ChannelInboundHandlerAdapter {
        @Override
        public void channelRead(ChannelHandlerContext ctx, Object msg) {
            if (msg instanceof ByteBuf) {
                ctx.writeAndFlush(msg);
            } else {
                ctx.fireChannelRead(msg); // a stream
            }
        }

        @Override
        public void userEventTriggered(ChannelHandlerContext ctx, Object event) {
            if (event instanceof QuicPathEvent) {
                System.out.println(event.getClass().getSimpleName() + " " + event);
            }
            ctx.fireUserEventTriggered(event);
        }
    }

    /** Returns the frames of a stream, the end with the last one. */
    private static final class Echo extends ChannelInboundHandlerAdapter {
        @Override
        public void channelRead(ChannelHandlerContext ctx, Object msg) {
            ctx.writeAndFlush(msg);
        }

        @Override
        public void exceptionCaught(ChannelHandlerContext ctx, Throwable e) {
            System.out.println("stream: " + e);
            ctx.close();
        }
    }
}
