/// What no archive of tensors exceeds. Real ones: 1,138 records for Llama 3.1 405B, names below 60 bytes.
public enum ZipLimits {
  public static let entries = 200_000
  public static let nameBytes = 512
  /// Central directory in bytes.
  public static let directoryBytes = 64 << 20
  /// Deflate cannot do better than this: 1032 to 1 (RFC 1951's longest match in the shortest codes).
  public static let inflateRatio: UInt64 = 1032
}
