internal import CKernels
internal import CZlib

/// Small pieces of bytes as zlib streams (RFC 1950), which check themselves by Adler-32.
public enum ZlibStream {
  /// The stream of `bytes`; nil when it would hardly be shorter than they are, so that they are better stored. For numbers:
  /// codes for their frequencies and runs, no search for repetitions, which numbers do not have.
  ///
  /// Which of the two it is depends on the bytes alone, the stream on zlib's version too.
  public static func compressed(_ bytes: Span<UInt8>) -> [UInt8]? {
    guard let strategy = strategy(for: bytes) else { return nil }
    var stream = z_stream()
    guard czlib_deflate_init(&stream, 1, strategy) == Z_OK else { return nil }
    defer { deflateEnd(&stream) }
    let limit = bytes.count - bytes.count / 64
    var size = 0
    let output = [UInt8](unsafeUninitializedCapacity: limit) { target, initialized in
      bytes.withUnsafeBufferPointer { source in
        stream.next_in = UnsafeMutablePointer(mutating: source.baseAddress)
        stream.avail_in = uInt(source.count)
        stream.next_out = target.baseAddress
        stream.avail_out = uInt(limit)
        if deflate(&stream, Z_FINISH) == Z_STREAM_END { size = limit - Int(stream.avail_out) }
      }
      initialized = size
    }
    return size > 0 ? output : nil
  }

  /// Nil for bytes that are noise: the chance that two of them are the same is within a quarter of that of even
  /// frequencies, which makes their entropy at least 7.67 bits (it is not below the collision entropy).
  private static func strategy(for bytes: Span<UInt8>) -> Int32? {
    guard bytes.count >= 64 else { return nil }
    var (squares, repeats): (UInt64, UInt64) = (0, 0)
    bytes.withUnsafeBufferPointer { source in
      guard let base = source.baseAddress else { return }
      ck_byte_statistics(base, source.count, &squares, &repeats)
    }
    let count = UInt64(bytes.count)
    if repeats > count / 2 { return Z_RLE }
    // Even frequencies: each of 256 bytes n/256 times. Of few bytes chance makes some more frequent.
    return squares * 1024 > 5 * count * count + 1024 * 2 * count ? Z_HUFFMAN_ONLY : nil
  }

  /// Inflates a whole stream that has exactly the size of `output`.
  /// - Throws: `ParseFailure` for bytes that are no such stream, or whose Adler-32 is another.
  public static func decompress(_ bytes: Span<UInt8>, into output: inout MutableSpan<UInt8>) throws(ParseFailure) {
    var stream = z_stream()
    guard czlib_inflate_init(&stream) == Z_OK else { throw ParseFailure("zlib does not start") }
    defer { inflateEnd(&stream) }
    let isWhole = bytes.withUnsafeBufferPointer { source in
      output.withUnsafeMutableBufferPointer { target in
        stream.next_in = UnsafeMutablePointer(mutating: source.baseAddress)
        stream.avail_in = uInt(source.count)
        stream.next_out = target.baseAddress
        stream.avail_out = uInt(target.count)
        return inflate(&stream, Z_FINISH) == Z_STREAM_END && stream.avail_in == 0 && stream.avail_out == 0
      }
    }
    guard isWhole else {
      throw ParseFailure("the compressed bytes are no zlib stream of \(output.count) bytes with a right Adler-32")
    }
  }
}
