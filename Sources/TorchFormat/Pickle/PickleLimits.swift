/// What no pickle of a checkpoint exceeds. Real ones: 106 kB and 1,137 tensors for Llama 3.1 405B.
public enum PickleLimits {
  public static let byteCount = 64 << 20
  /// Values pushed on the stack in all, containers' members included.
  public static let values = 2_000_000
  public static let marks = 64
  /// Highest memo index.
  public static let memoIndex = 2_000_000
  public static let stringBytes = 4096
  public static let dimensions = 8
}
