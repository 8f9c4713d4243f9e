/// What no pickle of a checkpoint exceeds. Real ones: 106 kB and 1,137 tensors for Llama 3.1 405B.
public enum PickleLimits {
  /// Deflated, that is at most a thousandth in the file: all of it and its values stay within 64 MiB of memory.
  public static let byteCount = 8 << 20
  /// Values pushed on the stack in all, containers' members included. They take up to 100 bytes each.
  public static let values = 400_000
  public static let marks = 64
  /// Highest memo index.
  public static let memoIndex = 2_000_000
  public static let stringBytes = 4096
  public static let dimensions = 8
}
