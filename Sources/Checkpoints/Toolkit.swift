/// The toolkit's own identity, as records name it.
public enum Toolkit {
  public static let name = "swift-llama-convert"
  public static let version = "0.1.0"
}
