internal import Checkpoints

/// The version that both programs print and that records carry; one number for the whole package.
public enum ToolVersion {
  public static var text: String { Toolkit.version }
}
